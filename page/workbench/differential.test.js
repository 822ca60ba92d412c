import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Differential, beside, whole, withEnd } from './differential.js';
import { Reading, create } from './review.js';

test('a range with both ends in order is sent, any other marks nothing', () => {
  assert.deepEqual(whole({ ig: [0, 1], monocyte: ['', 8], lymphocyte: [20, ''], neutrophil: [70, 40], basophil: [-1, 5], eosinophil: [1, 120] }), { ig: [0, 1] });
});

test('one end of a range changes, and no other range', () => {
  const typical = { ig: [0, 1], monocyte: [2, 8] };
  assert.deepEqual(withEnd(typical, 'ig', 1, '2.5'), { ig: [0, 2.5], monocyte: [2, 8] });
  assert.deepEqual(withEnd(withEnd({}, 'ig', 0, '3'), 'ig', 0, ''), { ig: ['', ''] });
  assert.deepEqual(typical.ig, [0, 1]);
});

test('what stands beside the white cells has a rate where there is one', () => {
  const texts = { per_100_short: 'per 100', platelets_short: 'platelets' };
  const per_100 = [{ name: 'erythroblast', count: 2, rate: 4 }, { name: 'smudge', count: 1, rate: null }];
  assert.equal(beside({ per_100, platelets: 3 }, texts), 'erythroblast: 2, 4 per 100 · smudge: 1 · platelets: 3');
  assert.equal(beside({ per_100: [], platelets: 0 }, texts), '');
});

// A differential whose server answers when it is told to, and what it shows.
function waiting() {
  const calls = [], shown = [], kept = new Map();
  const server = { call: (_, values) => new Promise((answer, fail) => calls.push({ values, answer, fail })) };
  const storage = { getItem: key => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
  const views = { show: found => shown.push(found.rows), clear: () => shown.push('nothing'), setStale: isStale => { if (isStale) shown.push('stale'); } };
  const made = (open = () => reading(1)) => Object.assign(new Differential(null, { texts: {}, typical: { ig: [0, 1] } }, server, null, open, storage), views, { batch: 'b' });
  return { calls, shown, made };
}

const settled = async () => { for (let turn = 0; turn < 9; turn += 1) await null; };

const cell = id => ({ id, name: id, probabilities: [1], status: 'ok' });
const reading = (count, batch = 'b') => new Reading({ ...create(batch, ''), labels: ['ig'], cells: Array.from({ length: count }, (_, index) => cell(String(index))) });

test('an answer to older counts is dropped, and the same counts are asked once', async () => {
  const { calls, shown, made } = waiting(), differential = made();
  const [first, second] = [differential.count(reading(1)), differential.count(reading(2))];
  await differential.count(reading(2));
  assert.deepEqual(calls.map(each => each.values.counts), [{ ig: 1 }, { ig: 2 }]);
  calls[1].answer({ rows: ['new'] });
  calls[0].answer({ rows: ['old'] });
  await Promise.all([first, second]);
  assert.deepEqual(shown, [['new']]);
});

test('an older question that fails does not silence the newer one', async () => {
  const { calls, shown, made } = waiting(), differential = made();
  const [first, second] = [differential.count(reading(1)), differential.count(reading(2))];
  calls[0].answer({ error: { text: 'refused' } });
  await first;
  calls[1].answer({ rows: ['new'] });
  await second;
  assert.deepEqual(shown, [['new']]);
});

test('counts that the server did not answer are asked again with the next step', async context => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const { calls, shown, made } = waiting(), differential = made();
  const first = differential.count(reading(1));
  calls[0].fail(new Error('gone'));
  await first;
  differential.count(reading(1));
  assert.deepEqual([calls.length, shown], [2, ['stale']]);
});

test('what is shown is said to be of older counts until the server answers, which is asked again and again', async context => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  let open = reading(1);
  const { calls, shown, made } = waiting(), differential = made(() => open);
  differential.count(open);
  for (const [count, seconds] of [2, 5, 15, 15].entries()) {
    calls[count].fail(new Error('gone'));
    await settled();
    context.mock.timers.tick(1000 * seconds - 1);
    assert.equal(calls.length, count + 1);
    context.mock.timers.tick(1);
  }
  calls[4].answer({ rows: ['new'] });
  await settled();
  assert.deepEqual(shown, ['stale', 'stale', 'stale', 'stale', ['new']]);
  differential.count(reading(2));
  calls[5].answer(null);
  await settled();
  open = null; // the batch was closed meanwhile
  context.mock.timers.tick(60_000);
  assert.equal(calls.length, 6);
});

test('the differential of another batch is shown no more, whatever the server does', async () => {
  const { calls, shown, made } = waiting(), differential = made();
  const first = differential.count(reading(1));
  differential.count(reading(1, 'c'));
  assert.deepEqual([shown, calls.length], [['nothing'], 2]);
  calls[0].answer({ rows: ['of b'] });
  await first;
  assert.deepEqual(shown, ['nothing']);
});

test('a changed range is kept for the next visit, and asked with', () => {
  const { calls, made } = waiting();
  made().setRange('ig', 1, '5');
  assert.deepEqual(calls[0].values.typical, { ig: [0, 5] });
  assert.deepEqual(made().ranges(), { ig: [0, 5] });
});
