import type { FailureName } from './failures.ts';
import type { Downstream, Failure, ResponseSink, Upstream } from './ports.ts';
import type { Arrival } from './identify.ts';
import type { DataPlane } from '../data-plane.ts';
import type { Member } from '../roster.ts';
import type { Endpoint } from '../balance/endpoint.ts';
import type { Outcome } from '../balance/standing.ts';
import { RequestHead } from '../codec/request-head.ts';
import { ResponseHead } from '../codec/response-head.ts';
import { admit } from './admit.ts';
import { attempt } from './attempt.ts';
import { FAILURES } from './failures.ts';
import { Forwarding } from './headers.ts';
import { nextTraceparent, randomHex } from './ids.ts';
import { KeptBody } from './kept-body.ts';
import { Plan } from './match.ts';
import { pickAny, pickLocal } from './pick.ts';
import { mayRetry } from './retry.ts';
import { BODY_NONE } from './ports.ts';
import { failureResponse } from './respond.ts';

type Phase = 'idle' | 'waiting' | 'answering' | 'tunnel';

/**
 * One request and its answer: the spine of the data path. The steps, in order, are
 * identify (once per connection, see identify.ts) → match → authorise → admit → pick → attempt
 * (→ retry) → respond → observe; gateway/README.md tells them with the same words.
 *
 * One object per client connection or peer stream, used again for each request on it: nothing is
 * allocated here per request but the forwarded head and two ids.
 */
export class Exchange implements ResponseSink, Member {
  rosterIndex = -1;
  readonly requestHead = new RequestHead();
  readonly responseHead = new ResponseHead();
  readonly arrival: Arrival;
  readonly forwarding: Forwarding;
  readonly #plane: DataPlane;
  readonly #downstream: Downstream;
  readonly #plan = new Plan();

  #phase: Phase = 'idle';
  #upstream: Upstream | undefined;
  #endpoint: Endpoint | undefined;
  #failed: Endpoint | undefined;
  #tries = 0;
  #startedMs = 0;
  #attemptMs = 0;
  /** When a byte last moved, as of the sweep before. */
  #movedMs = 0;
  #upstreamMs = 0;
  #requestBytes = 0;
  #responseBytes = 0;
  #isRequestEnded = false;
  #trailers = '';
  readonly #kept = new KeptBody();
  /** Of a TCP connection: the instance has sent its last byte, and may still read. */
  #isResponseEnded = false;
  #forwarded = '';
  #requestId = '';
  #traceparent = '';
  #status = 0;
  #reason = '';

  constructor(plane: DataPlane, downstream: Downstream, arrival: Arrival) {
    this.#plane = plane;
    this.#downstream = downstream;
    this.arrival = arrival;
    this.forwarding = new Forwarding(arrival, downstream.clientAddress);
  }

  get isActive(): boolean {
    return this.#phase !== 'idle';
  }

  /** A request's head is in `requestHead`; the first bytes of its body come along. */
  begin(bytes: Buffer | undefined, start: number, end: number, isEnded: boolean): void {
    const now = this.#plane.now();
    this.#phase = 'waiting';
    this.#startedMs = now;
    this.#movedMs = now;
    this.#tries = 0;
    this.#upstreamMs = 0;
    this.#requestBytes = end - start;
    this.#responseBytes = 0;
    this.#isRequestEnded = isEnded;
    this.#trailers = '';
    this.#failed = undefined;
    this.#endpoint = undefined;
    this.#kept.drop();
    this.#isResponseEnded = false;
    this.#requestId = this.requestHead.requestId || randomHex(32);
    this.#traceparent = nextTraceparent(this.requestHead.traceparent);
    this.#reason = '';
    this.#plane.exchanges.add(this);

    const plan = this.#plan;
    const refused =
      plan.match(this.#plane, this.arrival, this.requestHead, now) ??
      this.#authorise() ??
      admit(this.requestHead, plan.target!.load);
    if (refused !== undefined) {
      this.#fail(FAILURES[refused]);
      return;
    }
    if (plan.retryAttempts > 0 && (end > start || !isEnded)) this.#kept.begin();
    if (end > start) this.#kept.add(bytes!, start, end);
    this.#forwarded = this.forwarding.head(
      this.requestHead,
      this.#requestId,
      this.#traceparent,
      plan.target!.name,
    );
    if (this.requestHead.expectsContinue && !isEnded) this.#downstream.inform('100 Continue\r\n');
    this.#pickAndAttempt(bytes, start, end, isEnded, now);
  }

  requestBody(bytes: Buffer, start: number, end: number): void {
    this.#requestBytes += end - start;
    this.#movedMs = this.#plane.coarseMs;
    this.#kept.add(bytes, start, end);
    if (this.#upstream !== undefined && !this.#upstream.sendBody(bytes, start, end)) {
      this.#downstream.readBody(false);
    }
  }

  requestEnded(trailers: string): void {
    this.#isRequestEnded = true;
    this.#trailers = trailers;
    this.#upstream?.sendEnd(trailers);
    if (!this.#isResponseEnded) return;
    const now = this.#plane.now();
    this.#upstreamDone(now);
    this.#observe(now);
  }

  downstreamDrained(): void {
    this.#upstream?.readBody(true);
  }

  /** The client is gone: nobody waits for the answer. */
  downstreamGone(): void {
    if (this.#phase === 'idle') return;
    this.#status ||= FAILURES.clientGone.status;
    this.#reason = FAILURES.clientGone.reason;
    if (this.#phase === 'waiting') this.#status = FAILURES.clientGone.status;
    this.#upstream?.cancel();
    const now = this.#plane.now();
    this.#endpointFinished('gone', now);
    this.#observe(now);
  }

  /** Something that was no request was answered by the listener. */
  refused(status: number, why: string): void {
    this.#plane.observer.refused(this.arrival, status, why, this.#downstream.clientAddress);
  }

  /**
   * Called by the sweep: ends a request whose answer has not begun in time, and a stream on which
   * nothing has moved for the service's idle time; gRPC without a stated timeout is such a stream from the start. A stream that moves may take as long as it likes.
   */
  expire(nowMs: number): void {
    const isWaiting = this.#phase === 'waiting';
    const hasDeadline = isWaiting && this.#plan.deadlineMs < Infinity;
    const idleMs = this.#plan.target?.idleTimeoutMs ?? Infinity;
    if (nowMs < (hasDeadline ? this.#plan.deadlineMs : this.#movedMs + idleMs)) return;
    this.#upstream?.cancel();
    this.#upstream = undefined;
    // A request whose own body has not arrived says nothing about the service.
    this.#endpointFinished(isWaiting && this.#isRequestEnded ? 'reset' : 'gone', nowMs);
    if (isWaiting) {
      this.#fail(FAILURES.timeout);
      return;
    }
    this.#reason = FAILURES.timeout.reason;
    this.#downstream.abort(FAILURES.timeout);
    this.#observe(nowMs);
  }

  // === the answer, from the upstream ===

  requestSent(): void {
    this.#attemptMs = this.#plane.now();
  }

  informed(): void {
    this.#downstream.inform(`${this.responseHead.statusText}\r\n${this.responseHead.lines}`);
  }

  responseStarted(
    bytes: Buffer,
    start: number,
    end: number,
    isEnded: boolean,
    length: number,
  ): void {
    const { responseHead: head, requestHead: request } = this;
    const now = this.#plane.now();
    this.#phase = 'answering';
    this.#movedMs = this.#plane.coarseMs;
    this.#status = head.status;
    this.#reason = head.reason;
    this.#upstreamMs = now - this.#attemptMs;
    this.#responseBytes = end - start;
    this.#kept.drop();
    const bodiless = request.method === 'HEAD' || head.status === 204 || head.status === 304;
    let text = `${head.statusText}\r\n${head.lines}`;
    if (head.reason !== '') text += `x-gatemesh-reason: ${head.reason}\r\n`;
    if (this.arrival.isFirstHop) text += `x-request-id: ${this.#requestId}\r\n`;
    const declared = bodiless && head.status !== 204 ? head.contentLength : -1;
    if (isEnded) this.#upstreamDone(now);
    const flows = this.#downstream.respond(
      text,
      bodiless ? BODY_NONE : length,
      declared,
      bytes,
      start,
      end,
      isEnded,
    );
    if (isEnded) this.#observe(now);
    else if (!flows) this.#upstream?.readBody(false);
  }

  responseBody(bytes: Buffer, start: number, end: number): void {
    this.#responseBytes += end - start;
    this.#movedMs = this.#plane.coarseMs;
    if (!this.#downstream.respondBody(bytes, start, end)) this.#upstream?.readBody(false);
  }

  responseEnded(trailers: string): void {
    if (this.requestHead.isTcp && !this.#isRequestEnded) {
      this.#isResponseEnded = true;
      this.#downstream.respondEnd('');
      return;
    }
    const now = this.#plane.now();
    this.#upstreamDone(now);
    this.#downstream.respondEnd(trailers);
    this.#observe(now);
  }

  upstreamDrained(): void {
    this.#downstream.readBody(true);
  }

  upstreamFailed(failure: Failure): void {
    this.#upstream = undefined;
    const now = this.#plane.now();
    const outcome = failure.isUnsent ? 'connect' : 'reset';
    this.#endpointFinished(failure.isEndpointFault ? outcome : 'gone', now);
    if (this.#phase === 'answering' || this.#phase === 'tunnel') {
      this.#reason = failure.reason;
      this.#downstream.abort(failure);
      this.#observe(now);
      return;
    }
    const again = mayRetry(failure, {
      method: this.requestHead.method,
      tries: this.#tries,
      allowed: this.#plan.retryAttempts,
      isBodyKept: this.#kept.isWhole || (this.#isRequestEnded && this.#requestBytes === 0),
      leftMs: this.#plan.deadlineMs - now,
    });
    if (again) this.#retry();
    else this.#fail(failure);
  }

  tunnelOpened(bytes: Buffer, start: number, end: number): void {
    const { statusText, lines, upgrade } = this.responseHead;
    const now = this.#plane.now();
    this.#phase = 'tunnel';
    this.#movedMs = this.#plane.coarseMs;
    this.#status = 101;
    this.#upstreamMs = now - this.#attemptMs;
    this.#isRequestEnded = false;
    this.#kept.drop();
    this.#endpoint?.opened(now, this.#upstreamMs);
    this.#downstream.inform(
      `${statusText}\r\nconnection: upgrade\r\nupgrade: ${upgrade}\r\n${lines}`,
    );
    this.#downstream.openTunnel();
    if (end > start) this.responseBody(bytes, start, end);
  }

  // === the steps ===

  /** Decided where the service runs: by its own gateway, on the caller's certificate. */
  #authorise(): FailureName | undefined {
    const { direction, sourceIdentity } = this.arrival;
    if (direction !== 'ingress') {
      // A name that the CA did not grant to this VM is not handed on, to a service on the same VM neither.
      return this.#plane.muxPools.identities?.get(sourceIdentity) === undefined
        ? 'noIdentity'
        : undefined;
    }
    return this.#isAllowed() ? undefined : 'denied';
  }

  #isAllowed(): boolean {
    const decision = this.#plane.tables.authorise(
      this.#plan.target!.name,
      this.arrival.sourceIdentity,
      this.requestHead,
    );
    if (!decision.allowed || decision.audited) {
      this.#plane.observer.denied(this.arrival, this.#plan.target!.name, decision, this.#requestId);
    }
    return decision.allowed;
  }

  #pickAndAttempt(
    bytes: Buffer | undefined,
    start: number,
    end: number,
    isEnded: boolean,
    now: number,
  ): void {
    const target = this.#plan.target!;
    const endpoint =
      this.arrival.direction === 'ingress'
        ? pickLocal(this.#plane, target.name, this.requestHead.instance, now)
        : pickAny(this.#plane, target.endpoints(this.#plan.subset), this.#failed, now);
    if (endpoint === undefined) {
      this.#fail(FAILURES.noEndpoint);
      return;
    }
    const isLocal = endpoint.instance.node === this.#plane.settings.node;
    if (isLocal && this.arrival.direction !== 'ingress' && !this.#isAllowed()) {
      this.#fail(FAILURES.denied);
      return;
    }
    if (this.requestHead.isTcp !== (endpoint.instance.protocol === 'tcp')) {
      this.#fail(FAILURES.wrongProtocol);
      return;
    }
    const { wantsTunnel } = this.requestHead;
    this.#tries++;
    this.#attemptMs = now;
    this.#endpoint = endpoint;
    endpoint.started(now);
    target.load.requests++;
    const upstream = attempt(this.#plane, this, endpoint, isLocal, {
      forwarded: this.#forwarded,
      connectTimeoutMs: target.connectTimeoutMs,
      bytes,
      start,
      end,
      isEnded: isEnded && !wantsTunnel,
      wantsTunnel,
    });
    // An attempt can fail before it returns; then a retry has set its own.
    if (this.#endpoint === endpoint) this.#upstream = upstream;
  }

  #retry(): void {
    this.#plane.observer.retried(this.#plan.target!.name);
    const kept = this.#kept.bytes();
    const hasTrailers = this.#trailers !== '';
    const isEnded = this.#isRequestEnded && !hasTrailers;
    this.#pickAndAttempt(kept, 0, kept?.length ?? 0, isEnded, this.#plane.now());
    if (this.#isRequestEnded && hasTrailers) this.#upstream?.sendEnd(this.#trailers);
    else if (!this.#isRequestEnded) this.#downstream.readBody(true);
  }

  /** Answers in the service's place. */
  #fail(failure: Failure): void {
    this.#phase = 'answering';
    this.#status = failure.status;
    this.#reason = failure.reason;
    const { isGrpc } = this.requestHead;
    const { head, body } = failureResponse(failure, this.#requestId, isGrpc);
    this.#responseBytes = body.length;
    const isHead = this.requestHead.method === 'HEAD';
    this.#downstream.respond(
      head,
      isHead ? BODY_NONE : body.length,
      isHead ? body.length : -1,
      isHead ? undefined : body,
      0,
      isHead ? 0 : body.length,
      true,
    );
    this.#observe(this.#plane.now());
  }

  #upstreamDone(now: number): void {
    this.#upstream = undefined;
    this.#endpointFinished(this.responseHead.status >= 500 ? '5xx' : 'ok', now);
  }

  #endpointFinished(outcome: Outcome, now: number): void {
    const endpoint = this.#endpoint;
    if (endpoint === undefined) return;
    this.#endpoint = undefined;
    this.#failed = endpoint;
    this.#plan.target!.load.requests--;
    if (this.#phase === 'tunnel') endpoint.closed();
    else endpoint.finished(now, this.#upstreamMs || now - this.#attemptMs, outcome);
  }

  /** Every request ends here, once. */
  #observe(now: number): void {
    if (this.#phase === 'idle') return;
    const isUnopened = this.requestHead.isTcp && this.#status !== 101;
    this.#phase = 'idle';
    this.#upstream = undefined;
    this.#kept.drop();
    this.#plane.exchanges.remove(this);
    this.#plane.observer.observe({
      arrival: this.arrival,
      head: this.requestHead,
      clientAddress: this.#downstream.clientAddress,
      destination: this.#plan.target?.name ?? '',
      route: this.#plan.routeName,
      instance: this.#failed?.instance.id ?? '',
      status: this.requestHead.isTcp ? 0 : this.#status,
      reason: this.#reason,
      durationMs: now - this.#startedMs,
      upstreamMs: this.#upstreamMs,
      requestBytes: this.#requestBytes,
      responseBytes: isUnopened ? 0 : this.#responseBytes,
      attempts: this.#tries,
      requestId: this.#requestId,
      traceparent: this.#traceparent,
    });
    // Idle connections keep no string alive that theirs were cut from.
    this.#forwarded = '';
    this.#requestId = '';
    this.#traceparent = '';
  }
}
