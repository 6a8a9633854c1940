import type { Failure } from './ports.ts';
import { STATUS_TEXT } from './failures.ts';

/** Body of a response that a gateway makes itself (contract section 5). */
function errorBody(error: string, reason: string, message: string, requestId: string): string {
  return JSON.stringify({ error, reason, message, requestId });
}

/** Status and field lines of a gateway-made error, without framing, and its body. */
export function failureResponse(
  failure: Failure,
  requestId: string,
): { readonly head: string; readonly body: Buffer } {
  const body = Buffer.from(
    errorBody(failure.error, failure.reason, failure.message, requestId),
    'latin1',
  );
  const head =
    `${STATUS_TEXT[failure.status] ?? failure.status}\r\ncontent-type: application/json\r\n` +
    `x-gatemesh-reason: ${failure.reason}\r\nx-request-id: ${requestId}\r\n`;
  return { head, body };
}

/** A whole response to something that was no valid request; the connection ends with it. */
export function refusal(status: number, why: string): string {
  const body = errorBody('bad_request', 'BAD', why, '');
  return (
    `HTTP/1.1 ${STATUS_TEXT[status] ?? `${status} Bad Request`}\r\ncontent-type: application/json\r\n` +
    `content-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`
  );
}
