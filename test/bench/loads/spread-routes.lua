-- Requests for `asked` of the `count` routes of a table, as `subjects/many-routes.ts` makes it: 10 paths on each host.
local requests, at = {}, 0

function init(arguments)
  local count, asked = tonumber(arguments[1]), tonumber(arguments[2])
  -- Over the whole table, and over all paths: one more than the even distance.
  local distance = asked == count and 1 or math.floor(count / asked) + 1
  for nth = 0, asked - 1 do
    local route = nth * distance
    local host = 'host-' .. math.floor(route / 10) .. '.example.com'
    requests[nth] = wrk.format('GET', '/route/' .. route % 10 .. '/item', { Host = host })
  end
end

-- 7919 is a prime that no number of routes here shares: every route has its turn, and neighbours are not asked in a row.
function request()
  at = (at + 7919) % (#requests + 1)
  return requests[at]
end
