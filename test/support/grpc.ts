import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  status,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from '@grpc/grpc-js';

const asIs = (bytes: Buffer): Buffer => bytes;
const METHOD = {
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
};
const SERVICE = {
  unary: { path: '/test.Echo/Unary', requestStream: false, responseStream: false, ...METHOD },
  collect: { path: '/test.Echo/Collect', requestStream: true, responseStream: false, ...METHOD },
  count: { path: '/test.Echo/Count', requestStream: false, responseStream: true, ...METHOD },
  chat: { path: '/test.Echo/Chat', requestStream: true, responseStream: true, ...METHOD },
};

export interface GrpcOrigin {
  readonly port: number;
  /** Calls that the client gave up, as the server saw it. */
  readonly cancelled: () => number;
  /** Metadata of the calls so far. */
  readonly metadata: readonly Metadata[];
  close(): void;
}

/**
 * A gRPC server whose messages are plain bytes. Unary echoes, with initial and trailing metadata; `fail` is an
 * error, `hang` never answers, `big` answers 3 MB. Collect answers the number of bytes it got; `late` metadata
 * makes it wait for that many ms first. Count streams that many messages. Chat echoes each message.
 */
export async function startGrpcOrigin(): Promise<GrpcOrigin> {
  const metadata: Metadata[] = [];
  let cancelled = 0;
  const server = new Server({ 'grpc.max_receive_message_length': -1 });
  server.addService(SERVICE, {
    unary(call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) {
      metadata.push(call.metadata);
      call.on('cancelled', () => cancelled++);
      const text = call.request.length < 10 ? call.request.toString() : '';
      if (text === 'hang') return;
      const trailers = new Metadata();
      trailers.set('x-trailer', 'behind');
      trailers.set('x-detail-bin', Buffer.from([0, 1, 255]));
      if (text === 'fail') {
        done({ code: status.FAILED_PRECONDITION, details: 'not so, naïve', metadata: trailers });
        return;
      }
      const head = new Metadata();
      head.set('x-initial', 'before');
      call.sendMetadata(head);
      done(null, text === 'big' ? Buffer.alloc(3_000_000, 'b') : call.request, trailers);
    },
    collect(call: ServerReadableStream<Buffer, Buffer>, done: sendUnaryData<Buffer>) {
      let length = 0;
      call.on('data', (message: Buffer) => (length += message.length));
      call.on('end', () => {
        const lateMs = Number(call.metadata.get('late')[0] ?? 0);
        setTimeout(() => done(null, Buffer.from(String(length))), lateMs);
      });
    },
    count(call: ServerWritableStream<Buffer, Buffer>) {
      call.on('cancelled', () => cancelled++);
      const most = Number(call.request.toString());
      let sent = 0;
      const more = (): void => {
        while (sent < most) if (!call.write(Buffer.from(String(++sent)))) break;
        if (sent < most) call.once('drain', more);
        else call.end();
      };
      more();
    },
    chat(call: ServerDuplexStream<Buffer, Buffer>) {
      call.on('cancelled', () => cancelled++);
      call.on('data', (message: Buffer) => call.write(message));
      call.on('end', () => call.end());
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  return { port, metadata, cancelled: () => cancelled, close: () => server.forceShutdown() };
}

/** A client whose calls say `authority` as their host. */
export function grpcClient(port: number, authority: string): Client {
  return new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    'grpc.default_authority': authority,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.max_receive_message_length': -1,
  });
}

export interface UnaryAnswer {
  readonly message: string;
  readonly initial: Metadata;
  readonly trailing: Metadata;
}

/** @throws ServiceError */
export async function unary(
  client: Client,
  message: string | Buffer,
  metadata = new Metadata(),
  deadlineMs = 10_000,
): Promise<UnaryAnswer> {
  return await new Promise((resolve, reject) => {
    let initial = new Metadata();
    let trailing = new Metadata();
    let body: string | undefined;
    const call = client.makeUnaryRequest(
      SERVICE.unary.path,
      asIs,
      asIs,
      Buffer.from(message),
      metadata,
      { deadline: Date.now() + deadlineMs },
      (error, answer) => {
        if (error !== null) reject(error);
        else body = answer!.toString();
      },
    );
    call.on('metadata', (got: Metadata) => (initial = got));
    call.on('status', (got) => {
      trailing = got.metadata;
      if (got.code === status.OK)
        setImmediate(() => resolve({ message: body!, initial, trailing }));
    });
  });
}

/** Client-streaming: resolves to the answer. */
export async function collect(
  client: Client,
  messages: readonly Buffer[],
  metadata = new Metadata(),
): Promise<string> {
  return await new Promise((resolve, reject) => {
    const call = client.makeClientStreamRequest(
      SERVICE.collect.path,
      asIs,
      asIs,
      metadata,
      (error, answer) => {
        if (error !== null) reject(error);
        else resolve(answer!.toString());
      },
    );
    for (const message of messages) call.write(message);
    call.end();
  });
}

export function count(
  client: Client,
  messages: number,
): ReturnType<typeof client.makeServerStreamRequest<Buffer, Buffer>> {
  return client.makeServerStreamRequest(
    SERVICE.count.path,
    asIs,
    asIs,
    Buffer.from(String(messages)),
  );
}

export function chat(
  client: Client,
): ReturnType<typeof client.makeBidiStreamRequest<Buffer, Buffer>> {
  return client.makeBidiStreamRequest(SERVICE.chat.path, asIs, asIs);
}
