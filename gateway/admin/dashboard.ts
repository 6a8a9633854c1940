import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** The page at `/`, with the policy that lets exactly its own script and style run. */
export interface Dashboard {
  readonly html: string;
  readonly contentSecurityPolicy: string;
}

export function loadDashboard(): Dashboard {
  const html = readFileSync(new URL('dashboard.html', import.meta.url), 'utf8');
  const contentSecurityPolicy = [
    `default-src 'none'`,
    `script-src ${hashOf(html, 'script')}`,
    `style-src ${hashOf(html, 'style')}`,
    `connect-src 'self'`,
    `img-src data:`,
    `base-uri 'none'`,
    `form-action 'none'`,
    `frame-ancestors 'none'`,
    `require-trusted-types-for 'script'`,
  ].join('; ');
  return { html, contentSecurityPolicy };
}

/** CSP Level 3 section 2.3.1: hash of the element's text, exactly as it stands. */
function hashOf(html: string, element: 'script' | 'style'): string {
  const text = html.slice(
    html.indexOf(`<${element}>`) + element.length + 2,
    html.indexOf(`</${element}>`),
  );
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}
