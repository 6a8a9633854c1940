import type { Stand } from '../stand.ts';
import { putConfig, startEtcd } from './control-plane.ts';
import { answers, startGateway } from './gateway.ts';
import { startOrigin } from './origin.ts';
import type { Subject } from './subject.ts';

/** Must be what `loads/spread-routes.lua` asks for. */
const PATHS_PER_HOST = 10;

/** A gateway in a mesh of its own, with so many routes on a tenth as many hosts; all of them are asked in turn. */
async function startWithRoutes(stand: Stand, count: number): Promise<Subject> {
  const origin = await stand.use(startOrigin);
  const prefix = `/routes-${count}/v1`;
  const documents = Array.from({ length: count }, (_, route) => [
    `routes/route-${route}`,
    {
      host: `host-${Math.floor(route / PATHS_PER_HOST)}.example.com`,
      path: `/route/${route % PATHS_PER_HOST}/`,
      to: 'near',
    },
  ]);
  // The service has a document, so that no route is rejected until its first instance is there.
  const all = { 'services/near': {}, ...Object.fromEntries(documents) };
  await putConfig(await stand.use(startEtcd), prefix, all);
  const { pid, egress } = await startGateway(stand, {
    name: `routes-${count}`,
    prefix,
    services: { near: { port: origin.http } },
  });
  await answers(`${egress}/route/9/item`, `host-${count / PATHS_PER_HOST - 1}.example.com`);
  return {
    name: `${count.toLocaleString('en')} routes, all asked`,
    url: egress,
    host: undefined,
    routes: { count, asked: count },
    pids: [pid],
    aside: [pid],
  };
}

export const startWith10Routes = (stand: Stand): Promise<Subject> => startWithRoutes(stand, 10);
export const startWith10000Routes = (stand: Stand): Promise<Subject> =>
  startWithRoutes(stand, 10_000);

/** The same gateway under requests for some of its routes only. */
export function asking(asked: number, subject: Subject): Subject {
  const { count } = subject.routes!;
  const name = `${count.toLocaleString('en')} routes, ${asked} asked`;
  return { ...subject, name, routes: { count, asked } };
}
