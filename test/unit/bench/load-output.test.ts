import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseH2load } from '../../bench/loads/h2load.ts';
import { parseWrk } from '../../bench/loads/wrk.ts';

// As h2load 1.52 prints it; the lines before `finished` do not matter.
const H2LOAD = `Application protocol: h2c

finished in 2.00s, 49577.00 req/s, 8.09MB/s
requests: 99154 total, 99186 started, 99154 done, 99154 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 99154 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 16.17MB (16955726) total, 10.31MB (10807786) headers (space savings 39.78%), 968.30KB (991540) data
                     min         max         mean         sd        +/- sd
time for request:       40us      4.80ms       640us       186us    93.56%
time for connect:       45us       111us        82us        22us    75.00%
time to 1st byte:      304us      1.01ms       660us       249us    50.00%
req/s           :    6185.65     6206.06     6196.67        7.21    62.50%
`;

const WRK = `Running 2s test @ http://127.0.0.1:39331/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   488.23us  377.28us   9.95ms   94.20%
    Req/Sec    67.10k     5.60k   75.21k    76.19%
  Latency Distribution
     50%  435.00us
     75%  518.00us
     90%  684.00us
     99%    1.87ms
  140123 requests in 2.10s, 42.36MB read
Requests/sec:  66740.43
Transfer/sec:     20.18MB
`;

describe('parseH2load', () => {
  it('finds what is counted', () => {
    assert.deepEqual(parseH2load(H2LOAD), {
      requests: 99_154,
      perSecond: 49_577,
      bodyBytes: 991_540,
      meanTime: '640us',
    });
  });

  it('does not take a run in which a request failed', () => {
    const failed = H2LOAD.replace('99154 succeeded, 0 failed', '99151 succeeded, 3 failed');
    assert.throws(() => parseH2load(failed), /3 failed/);
    assert.throws(() => parseH2load(H2LOAD.replace('0 errored', '1 errored')), /1 errored/);
    assert.throws(() => parseH2load(H2LOAD.replace('0 timeout', '1 timeout')), /1 timeout/);
  });

  it('does not take other statuses', () => {
    const refused = H2LOAD.replace('99154 2xx, 0 3xx, 0 4xx', '99150 2xx, 0 3xx, 4 4xx');
    assert.throws(() => parseH2load(refused), /4 4xx/);
  });

  it('does not take a run without any answer', () => {
    assert.throws(() => parseH2load(H2LOAD.replaceAll('99154', '0')), /nothing was answered/);
  });

  it('shows what it cannot read', () => {
    assert.throws(() => parseH2load('process_request_failure:1\n'), /process_request_failure/);
  });
});

describe('parseWrk', () => {
  it('finds what is counted', () => {
    assert.deepEqual(parseWrk(WRK), {
      requests: 140_123,
      seen: { 'req/s': 66_740.43, p50: '435.00us', p99: '1.87ms' },
    });
  });

  it('does not take a run in which a request failed', () => {
    assert.throws(() => parseWrk(`${WRK}  Non-2xx or 3xx responses: 7\n`), /responses: 7/);
    const errors = '  Socket errors: connect 0, read 2, write 0, timeout 0\n';
    assert.throws(() => parseWrk(WRK + errors), /read 2/);
  });

  it('shows what it cannot read', () => {
    assert.throws(() => parseWrk('unable to connect\n'), /unable to connect/);
  });
});
