import type { Failure } from './ports.ts';
import { grpcStatus, STATUS_TEXT } from './failures.ts';

/** Body of a response that a gateway makes itself (contract section 5). */
function errorBody(error: string, reason: string, message: string, requestId: string): string {
  return JSON.stringify({ error, reason, message, requestId });
}

interface GatewayMade {
  /** Status and field lines, without framing. */
  readonly head: string;
  readonly body: Buffer;
}

/**
 * A gateway-made error. A gRPC caller gets HTTP 200 without a body, and what happened in `grpc-status`
 * ("Trailers-Only" in the protocol's words).
 */
export function failureResponse(failure: Failure, requestId: string, isGrpc: boolean): GatewayMade {
  const told = `x-gatemesh-reason: ${failure.reason}\r\nx-request-id: ${requestId}\r\n`;
  if (isGrpc) {
    const head =
      '200 OK\r\ncontent-type: application/grpc\r\n' +
      `grpc-status: ${grpcStatus(failure)}\r\ngrpc-message: ${failure.message}\r\n${told}`;
    return { head, body: Buffer.alloc(0) };
  }
  const { error, reason, message, status } = failure;
  const body = Buffer.from(errorBody(error, reason, message, requestId), 'latin1');
  const head = `${STATUS_TEXT[status] ?? status}\r\ncontent-type: application/json\r\n${told}`;
  return { head, body };
}

/** As `failureResponse`, to something that was no valid request, where only its stream ends. */
export function badRequestResponse(status: number, why: string): GatewayMade {
  const body = Buffer.from(errorBody('bad_request', 'BAD', why, ''), 'latin1');
  const head =
    `${STATUS_TEXT[status] ?? `${status} Bad Request`}\r\ncontent-type: application/json\r\n` +
    'x-gatemesh-reason: BAD\r\n';
  return { head, body };
}

/** A whole HTTP/1.1 response to something that was no valid request; the connection ends with it. */
export function refusal(status: number, why: string): string {
  const body = errorBody('bad_request', 'BAD', why, '');
  return (
    `HTTP/1.1 ${STATUS_TEXT[status] ?? `${status} Bad Request`}\r\ncontent-type: application/json\r\n` +
    `content-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`
  );
}
