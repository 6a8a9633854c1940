/**
 * What reading and writing a message costs, without any socket; and each trick of the codec beside what it replaces.
 * Prints only; run it alone on a quiet machine: `node test/bench/micro-codec.ts`
 */
import { headEnd } from '../../gateway/worker/codec/head-end.ts';
import {
  EDGE_RULES,
  MESH_RESPONSE_RULES,
  MESH_RULES,
  RESPONSE_RULES,
} from '../../gateway/worker/codec/header-rules.ts';
import { RequestHead } from '../../gateway/worker/codec/request-head.ts';
import { ResponseHead } from '../../gateway/worker/codec/response-head.ts';
import { textLike } from '../../gateway/worker/codec/values.ts';
import { borrow } from '../../gateway/worker/loans.ts';
import { cpuMs, nsPerCall, row } from './micro.ts';

const ROUNDS = 1_000_000;
const READ_BUFFER_BYTES = 65_536;

/** As it lies in the worker's one read buffer. */
function read(lines: readonly string[]): { readonly bytes: Buffer; readonly end: number } {
  const bytes = Buffer.alloc(READ_BUFFER_BYTES);
  const text = `${lines.join('\r\n')}\r\n\r\n`;
  bytes.latin1Write(text, 0);
  return { bytes, end: text.length };
}

const SMALL = read(['GET /orders/42 HTTP/1.1', 'Host: orders.mesh']);
const BROWSER = read([
  'GET /api/v1/orders/42?expand=lines HTTP/1.1',
  'Host: orders.example.com',
  'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36',
  'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8',
  'Accept-Encoding: gzip, deflate, br, zstd',
  'Accept-Language: en-GB,en;q=0.9,de;q=0.8',
  'Cache-Control: no-cache',
  'Connection: keep-alive',
  'Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=all',
  'Referer: https://orders.example.com/api/v1/orders',
  'Sec-Fetch-Dest: document',
  'Sec-Fetch-Mode: navigate',
  'Sec-Fetch-Site: same-origin',
  'Upgrade-Insecure-Requests: 1',
]);
const FROM_GATEWAY = read([
  'GET /orders/42 HTTP/1.1',
  'host: orders.mesh',
  'x-request-id: 0123456789abcdef0123456789abcdef',
  'traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-00',
  'x-forwarded-for: 127.0.0.1',
  'x-forwarded-proto: http',
  'x-forwarded-host: orders.mesh',
  'x-gatemesh-hops: 1',
  'x-gatemesh-instance: vm-a',
]);
const ANSWER = read([
  'HTTP/1.1 200 OK',
  'Server: nginx/1.22.1',
  'Date: Sun, 22 Nov 2026 10:00:00 GMT',
  'Content-Type: application/json',
  'Content-Length: 133',
  'Connection: keep-alive',
]);

const request = new RequestHead();
const response = new ResponseHead();
const heads = [
  ['request, one field', SMALL, (end: number) => request.parse(SMALL.bytes, 0, end, EDGE_RULES)],
  ['request, 14 lines', BROWSER, (end: number) => request.parse(BROWSER.bytes, 0, end, EDGE_RULES)],
  [
    'request, from a gateway',
    FROM_GATEWAY,
    (end: number) => request.parse(FROM_GATEWAY.bytes, 0, end, MESH_RULES),
  ],
  [
    'response, from an instance',
    ANSWER,
    (end: number) => response.parse(ANSWER.bytes, 0, end, RESPONSE_RULES),
  ],
  [
    'response, from a gateway',
    ANSWER,
    (end: number) => response.parse(ANSWER.bytes, 0, end, MESH_RESPONSE_RULES),
  ],
] as const;
for (const [what, { end }, parse] of heads) {
  row(
    `parse: ${what} (${end} bytes)`,
    nsPerCall(ROUNDS, () => parse(end - 2)),
    'ns',
  );
}

{
  const { bytes, end } = FROM_GATEWAY;
  const nameAt = bytes.indexOf('x-forwarded-proto');
  const nameEnd = nameAt + 'x-forwarded-proto'.length;
  const names = new Map([['x-forwarded-proto', 1]]);
  row(
    'name of a field: looked up by its bytes',
    nsPerCall(ROUNDS, () => EDGE_RULES.lookUp(bytes, nameAt, nameEnd)),
    'ns',
  );
  row(
    '  as a string, lower-cased, in a Map',
    nsPerCall(ROUNDS, () => names.get(bytes.latin1Slice(nameAt, nameEnd).toLowerCase())),
    'ns',
  );
  row(
    `end of a head of ${end} bytes: every fourth byte`,
    nsPerCall(ROUNDS, () => headEnd(bytes, 0, end, 431)),
    'ns',
  );
  row(
    '  Buffer.indexOf',
    nsPerCall(ROUNDS, () => bytes.indexOf('\r\n\r\n', 0, 'latin1')),
    'ns',
  );
  let last = 'orders.mesh';
  const at = bytes.indexOf(last);
  row(
    'the same Host again: compared with the last',
    nsPerCall(ROUNDS, () => (last = textLike(last, bytes, at, at + 11))),
    'ns',
  );
  row(
    '  a new string',
    nsPerCall(ROUNDS, () => (last = bytes.latin1Slice(at, at + 11))),
    'ns',
  );
}

{
  const { bytes, end } = FROM_GATEWAY;
  const rounds = 20_000;
  const fill = (out: Buffer): void => void bytes.copy(out, 0, 0, end);
  row(
    `a write of ${end} bytes: borrowed buffer`,
    (cpuMs(() => {
      for (let i = 0; i < rounds; i++) {
        const loan = borrow();
        fill(loan.bytes);
        loan.giveBack();
      }
    }) *
      1e6) /
      rounds,
    'ns',
  );
  row(
    '  a new 64 KiB buffer, collected later',
    (cpuMs(() => {
      for (let i = 0; i < rounds; i++) fill(Buffer.allocUnsafeSlow(65_536));
    }) *
      1e6) /
      rounds,
    'ns',
  );
}
