import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Keeping } from './keeping.js';
import { create } from './review.js';
import { Journal } from './store.js';

// A web storage as far as it is asked for.
function storage() {
  const kept = new Map();
  return { keys: () => [...kept.keys()], getItem: key => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value), removeItem: key => kept.delete(key) };
}

const step = number => ({ cell: '1', number, decision: 'ig', time: 't' });
const opened = { ...create('b', ''), cells: [{ id: '1' }] };

// Keeping with a store in which `methods` stand for those that are asked, and what was done, in order.
function kept(methods = {}, review = opened) {
  let pages = 0;
  const done = [], local = storage(), tab = storage(), channel = { postMessage: message => done.push(['told', message]) };
  const note = name => async (...values) => { done.push([name, ...values]); return methods[name]?.(...values); };
  const store = Object.fromEntries(['has', 'change', 'put', 'find', 'model', 'head', 'cellCount', 'cells', 'fields'].map(name => [name, note(name)]));
  const on = { changed: message => done.push(['changed', message]), refused: () => done.push(['refused']), model: () => 'its model' };
  const made = () => new Keeping(() => review, on, { openStore: async () => (methods.none ? null : store), journal: new Journal(local, `blood-cells-journal-${pages += 1}`, null), channel, tab, disk: { persist: async () => { done.push(['persist']); } } });
  return { keeping: made(), made, done, local, channel };
}

const names = done => done.map(([name]) => name);
const changes = done => done.filter(([name]) => name === 'change').map(([, { added, removed }]) => [added, removed]);

// The same with a store that refuses so many changes.
function refusing(count) {
  return kept({ has: () => true, change: () => { if (count-- > 0) throw new Error('full'); }, find: () => opened, model: () => null });
}

test('a step is in the journal at once, and leaves it when it is stored; then other tabs hear of it', async () => {
  const { keeping, done, local } = kept({ has: () => true });
  keeping.keepSteps('b', [step(1)], []);
  assert.equal(local.keys().length, 1);
  assert.deepEqual(done, []);
  await keeping.saving;
  await null; // the journal hears of it
  assert.deepEqual(local.keys(), []);
  assert.deepEqual([names(done), changes(done), done.at(-1)], [['has', 'change', 'told'], [[[step(1)], []]], ['told', { batch: 'b', gone: [] }]]);
});

test('what the browser refuses stays in the journal, and is said', async () => {
  const { keeping, done, local } = kept({ has: () => true, change: () => { throw new Error('full'); } });
  keeping.keepSteps('b', [step(1)], []);
  await keeping.saving;
  await null;
  assert.deepEqual([names(done), local.keys().length], [['has', 'change', 'refused'], 1]);
});

test('a change that fails keeps no later one from being stored, each in its turn', async () => {
  const { keeping } = kept(), order = [];
  keeping.keep('b', async () => { await null; order.push(1); throw new Error('full'); });
  assert.equal(await keeping.keep('b', async () => { order.push(2); }), true);
  assert.deepEqual(order, [1, 2]);
});

test('the open review is stored again where another tab removed it; another batch, and one without a cell, is not', async () => {
  for (const [batch, review, stored] of [['b', opened, ['has', 'put', 'told']], ['c', opened, ['has', 'told']], ['b', create('b', ''), ['has', 'told']], ['b', null, ['has', 'told']]]) {
    const { keeping, done } = kept({ has: () => false }, review);
    await keeping.keepIn(batch, () => assert.fail('the store does not have it'));
    assert.deepEqual(names(done), stored);
  }
});

test('a page that opens stores what closed tabs left, and then finds what this tab showed', async () => {
  const { keeping, made, done } = kept({ has: () => true, find: () => ({ ...opened, steps: [step(1)] }), model: () => 'a file' });
  keeping.journal.add({ batch: 'b', added: [step(1)], removed: [] });
  keeping.remember('b');
  assert.deepEqual(await made().restore(), { review: { ...opened, steps: [step(1)] }, file: 'a file' });
  assert.deepEqual([names(done), changes(done)], [['has', 'change', 'find', 'model'], [[[step(1)], []]]]);
});

test('what closed tabs left holds though the browser refuses it', async () => {
  const { keeping, made, done } = kept({ has: () => true, change: () => { throw new Error('full'); }, find: () => opened, model: () => null });
  keeping.journal.add({ batch: 'b', added: [step(1)], removed: [] });
  assert.deepEqual((await made().restore()).review.steps, [step(1)]);
  assert.ok(names(done).includes('refused'));
});

test('a step that the store refused once never takes the place of a newer one', async () => {
  const { keeping, made, done, local } = refusing(1);
  keeping.keepSteps('b', [step(1)], []);
  keeping.keepSteps('b', [], [step(1)]);
  const newer = { ...step(1), decision: 'monocyte' }; // undo freed its number
  keeping.keepSteps('b', [newer], []);
  await keeping.saving;
  await null;
  assert.deepEqual(changes(done).slice(1), [[[step(1)], []], [[], [step(1)]], [[newer], []]]);
  assert.deepEqual(local.keys(), []);
  assert.deepEqual((await made().restore()).review.steps, []);
});

test('of what closed tabs left of a batch nothing is stored behind an entry that is refused', async () => {
  const { keeping, made, done } = refusing(Infinity);
  for (const number of [1, 2]) keeping.keepSteps('b', [step(number)], []);
  keeping.keepSteps('c', [step(3)], []);
  await keeping.saving;
  done.length = 0;
  const next = made();
  assert.deepEqual((await next.restore()).review.steps, [step(1), step(2)]);
  assert.deepEqual(changes(done), [[[step(1)], []], [[step(3)], []]]);
});

test('a tab that showed no batch shows none, nor one without a cell, nor any where the browser has no store', async () => {
  const left = kept({ find: () => opened });
  left.keeping.remember('');
  assert.deepEqual([await left.keeping.restore(), names(left.done)], [null, []]);
  assert.equal(await kept({ find: () => create('b', '') }).keeping.restore(), null);
  const none = kept({ none: true });
  assert.deepEqual([await none.keeping.restore(), names(none.done)], [null, ['refused']]);
});

test('what is stored meanwhile is read before anything is shown', async () => {
  let reads = 0;
  const { keeping } = kept({ head: () => { reads += 1; if (reads === 1) keeping.keep('b', async () => {}); return { ...opened, steps: [step(reads)] }; }, cellCount: () => 1 });
  await keeping.keep('b', async () => {});
  const used = [];
  await keeping.read('b', (...values) => used.push(values));
  assert.deepEqual(used, [[{ ...opened, steps: [step(2)] }, [], {}, null]]);
});

test('cells are read only where the store has more, and a step that is on its way is added to what it has', async () => {
  const { keeping } = kept({ has: () => true, change: () => { throw new Error('full'); }, head: () => opened, cellCount: () => 2, cells: () => ['1', '2'], fields: () => ({ 2: {} }), model: () => 'a file' });
  keeping.keepSteps('b', [step(1)], []);
  const used = [];
  await keeping.read('b', (...values) => used.push(values));
  assert.deepEqual(used, [[{ ...opened, steps: [step(1)] }, ['1', '2'], { 2: {} }, 'a file']]);
  const removed = kept({ head: () => null }).keeping;
  await removed.keep('b', async () => {});
  await removed.read('b', () => assert.fail('another tab removed it'));
});

test('an open batch that another tab removed is stored again at once, with its model; other tabs hear of it', async () => {
  const { keeping, done } = kept({ head: () => null, has: () => false });
  await keeping.keep('b', async () => {});
  await keeping.read('b', () => assert.fail('another tab removed it'));
  assert.deepEqual(done.slice(-2), [['put', opened, 'its model'], ['told', { batch: 'b', gone: [] }]]);
  const other = kept({ head: () => null, has: () => false }, { ...opened, batch: 'c' });
  await other.keeping.keep('c', async () => {});
  await other.keeping.read('b', () => assert.fail('it is none here'));
  assert.ok(!names(other.done).includes('put'));
});

test('with the first cells the browser is asked to keep them where its disk becomes full, not where it refused them', async () => {
  const { keeping, done } = kept();
  await keeping.keepFirst('b', async () => {});
  await keeping.keep('b', async () => {});
  await keeping.keepFirst('b', async () => { throw new Error('full'); });
  assert.deepEqual(names(done), ['told', 'persist', 'told', 'refused']);
});

test('other tabs hear which batch a change is of, whichever is open here', async () => {
  const { keeping, done } = kept({}, null);
  await keeping.keep('b', async () => {});
  assert.deepEqual(done, [['told', { batch: 'b', gone: [] }]]);
});

test('cells are read where another model names them by now', async () => {
  const { keeping } = kept({ head: () => ({ ...opened, model: 'm+1' }), cellCount: () => 1, cells: () => ['named anew'], fields: () => ({}), model: () => 'a file' });
  const used = [];
  await keeping.keep('b', async () => {});
  await keeping.read('b', (...values) => used.push(values.slice(1)));
  assert.deepEqual(used, [[['named anew'], {}, 'a file']]);
});

test('what another tab says is heard', () => {
  const { done, channel } = kept();
  channel.onmessage({ data: { batch: 'b', gone: [] } });
  assert.deepEqual(done, [['changed', { batch: 'b', gone: [] }]]);
});
