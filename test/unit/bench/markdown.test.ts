import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { format } from 'prettier';
import { withTable } from '../../bench/markdown.ts';
import type { Row } from '../../bench/report.ts';

const PAGE = `# Page\n\n<!-- bench: begin -->\n\nOld.\n\n<!-- bench: end -->\n\nText.\n`;
const ROWS: readonly Row[] = [
  {
    name: 'hop',
    measure: 'one hop',
    unit: 'µs CPU/request',
    oursName: 'gatemesh edge',
    ours: 16.53,
    peerName: 'nginx',
    peer: 12.8,
    ratio: 1.29,
    target: '≤ 1.5 ×',
    verdict: 'met',
  },
  {
    name: 'rest',
    measure: 'at rest',
    unit: 'MB resident',
    oursName: 'gatemesh',
    ours: null,
    peerName: '',
    peer: null,
    ratio: null,
    target: '≤ 160 MB',
    verdict: 'not measured',
  },
];

describe('withTable', () => {
  it('replaces what is between the marks', () => {
    const page = withTable(PAGE, ROWS, 'From a machine:');
    assert.ok(page.startsWith('# Page\n\n<!-- bench: begin -->\n\nFrom a machine:\n\n| measure'));
    assert.ok(page.endsWith('|\n\n<!-- bench: end -->\n\nText.\n'));
    assert.ok(!page.includes('Old.'));
    assert.match(
      page,
      /\| one hop \(edge\) \| µs CPU\/request \| +16\.5 \| nginx \| 12\.8 \| +1\.29 \|/,
    );
  });

  it('leaves a page that Prettier does not change', async () => {
    for (const rows of [ROWS, ROWS.slice(1), []]) {
      const page = withTable(PAGE, rows, 'From a machine:');
      assert.equal(await format(page, { parser: 'markdown' }), page);
    }
  });

  it('gives the same page again', () => {
    const page = withTable(PAGE, ROWS, 'From a machine:');
    assert.equal(withTable(page, ROWS, 'From a machine:'), page);
  });

  it('wants the marks', () => {
    for (const page of ['# Page\n', PAGE.replace('bench: end', 'end')]) {
      assert.throws(() => withTable(page, ROWS, ''), /needs the lines "<!-- bench: begin -->"/);
    }
  });
});
