import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Journal, Store, inOrder, open, webStorage } from './store.js';

// A web storage as far as the journal asks for it.
function storage() {
  const kept = new Map();
  return { keys: () => [...kept.keys()], getItem: key => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value), removeItem: key => kept.delete(key) };
}

const entry = number => ({ batch: 'b', added: [{ cell: '1', number, decision: 'ig', time: 't' }], removed: [] });

// The journal of a page, whose browser has no locks unless some are given.
const journalOf = (kept, page = 1, locks = null) => new Journal(kept, `blood-cells-journal-${page}`, locks);
const numbers = entries => entries.map(each => each.added[0].number);

test('a step that was not stored when the page closed is found by the next one, once', async () => {
  const kept = storage(), next = journalOf(kept, 3);
  journalOf(kept, 1).add(entry(1));
  journalOf(kept, 2).add(entry(2));
  assert.deepEqual(numbers(await next.takeOver()), [1, 2]);
  assert.deepEqual(await next.takeOver(), []);
});

test('what several pages left comes in the order in which it was made, whatever the order of the pages', async context => {
  const kept = storage(), pages = [journalOf(kept, 1), journalOf(kept, 2)];
  context.mock.timers.enable({ apis: ['Date'] });
  for (const [number, page] of [0, 1, 1, 0].entries()) {
    pages[page].add(entry(number));
    context.mock.timers.setTime(1000 * (number + 1));
  }
  assert.deepEqual(numbers(await journalOf(kept, 3).takeOver()), [0, 1, 2, 3]);
});

test('a clock that is set back changes no order within a page', async context => {
  const kept = storage(), page = journalOf(kept);
  context.mock.timers.enable({ apis: ['Date'], now: 9000 });
  page.add(entry(1));
  context.mock.timers.setTime(1000);
  page.add(entry(2));
  assert.deepEqual(numbers(await journalOf(kept, 2).takeOver()), [1, 2]);
});

test('a page that closes before it has stored what it found leaves it to the next one', async () => {
  const kept = storage(), made = journalOf(kept, 1).add(entry(1));
  await journalOf(kept, 2).takeOver();
  const last = journalOf(kept, 3), [found] = await last.takeOver();
  assert.deepEqual(found, made);
  last.remove(found);
  assert.deepEqual(kept.keys(), []);
});

test('an entry that a page took from an open one is there once, before what the open one did since', async () => {
  const kept = storage(), open = journalOf(kept, 1);
  open.add(entry(1));
  await journalOf(kept, 2).takeOver();
  open.add(entry(2));
  assert.deepEqual(numbers(await journalOf(kept, 3).takeOver()), [1, 2]);
});

test('where the browser has locks, the journal of an open page is left to it', async () => {
  const held = [], locks = { request: async name => { held.push({ name }); }, query: async () => ({ held }) }, kept = storage();
  journalOf(kept, 1, locks).add(entry(1));
  const next = journalOf(kept, 2, locks);
  assert.deepEqual(await next.takeOver(), []);
  held.shift(); // the page is closed
  assert.deepEqual(numbers(await next.takeOver()), [1]);
});

test('a step that was stored leaves the journal', () => {
  const kept = storage(), journal = journalOf(kept), [first, second] = [1, 2].map(number => journal.add(entry(number)));
  journal.remove(first);
  assert.deepEqual(JSON.parse(kept.getItem(journal.key)), [second]);
  journal.remove(second);
  assert.deepEqual(kept.keys(), []);
});

test('the store gets an entry behind those of its batch that it refused before', () => {
  const journal = journalOf(storage()), [first, , last] = [entry(1), { ...entry(2), batch: 'another' }, entry(3), entry(4)].map(each => journal.add(each));
  assert.deepEqual(journal.until(last), [first, last]);
  journal.remove(...journal.until(last));
  assert.deepEqual(numbers(journal.entries), [2, 4]);
});

test('what the store has not got yet is added to what it has, and what was taken back is left out', () => {
  const journal = journalOf(storage()), [one, two, three] = [1, 2, 3].map(number => entry(number).added[0]);
  journal.add(entry(2));
  journal.add({ ...entry(3), batch: 'another' });
  journal.add({ batch: 'b', added: [], removed: [one] });
  for (const comment of ['S', 'Slide']) journal.add({ batch: 'b', added: [], removed: [], comment });
  assert.deepEqual(journal.applied({ batch: 'b', steps: [one], comment: 'old' }), { batch: 'b', steps: [two], comment: 'Slide' });
  assert.deepEqual(journal.applied({ batch: 'another', steps: [], comment: 'x' }), { batch: 'another', steps: [three], comment: 'x' });
  assert.equal(journal.entries.length, 4); // of a comment that is being typed, the last
});

test('a storage that is full or refused stops nobody: the values last as long as the page', () => {
  const define = (name, get) => Object.defineProperty(globalThis, name, { get, configurable: true });
  for (const refused of [() => { throw new Error('refused'); }, () => ({ getItem: () => null, setItem() { throw new Error('full'); }, removeItem() {} })]) {
    define('someStorage', refused);
    const kept = webStorage('someStorage');
    assert.equal(kept.getItem('a'), null);
    kept.setItem('a', '1');
    assert.equal(kept.getItem('a'), '1');
    kept.removeItem('a');
    assert.equal(kept.getItem('a'), null);
    const journal = journalOf(kept);
    journal.add(entry(1));
    assert.equal(journal.entries.length, 1);
  }
});

test('cells come back in their order with their places, those of the version before too', () => {
  const place = { number: 1, box: [0, 0, 9, 9] };
  assert.deepEqual(inOrder([{ batch: 'b', id: 'x', at: 1700, place }, { batch: 'b', id: '2', place: 1 }, { batch: 'b', id: '1', place: 0 }]), [
    { id: '1', place: null }, { id: '2', place: null }, { id: 'x', place },
  ]);
});

test('a review is stored together with its first cells, not before them', async () => {
  const put = [], opened = [];
  const transaction = { objectStore: name => ({ put: value => put.push([name, value.id ?? value.batch]) }), set oncomplete(end) { queueMicrotask(end); } };
  const store = new Store({ transaction: names => { opened.push(names); return transaction; } });
  await store.addCells('b', [{ id: '1' }], [], { batch: 'b', cells: [{ id: '1' }], fields: {}, steps: [] });
  assert.deepEqual([opened.length, put], [1, [['reviews', 'b'], ['cells', '1']]]);
});

test('the wanted review is found, otherwise the one with cells that was opened last', async () => {
  const heads = [{ batch: 'old', opened: 1 }, { batch: 'new', opened: 2 }, { batch: 'empty', opened: 3 }];
  const request = { result: heads, set onsuccess(end) { queueMicrotask(end); } };
  const store = new Store({ transaction: () => ({ objectStore: () => ({ getAll: () => request }) }) });
  Object.assign(store, { cellCount: async batch => Number(batch !== 'empty'), cells: async batch => [batch], fields: async () => ({}), steps: async () => [] });
  for (const [wanted, found] of [[null, 'new'], ['old', 'old'], ['empty', 'new'], ['gone', 'new']]) {
    assert.deepEqual(await store.find(wanted), { batch: found, cells: [found], fields: {}, steps: [] });
  }
  request.result = heads.filter(({ batch }) => batch === 'empty');
  assert.equal(await store.find(null), null);
});

test('a browser that does not answer has no store', async context => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const opened = open({ open: () => ({}) });
  context.mock.timers.tick(10_000);
  assert.equal(await opened, null);
});

test('a newer step of another tab on the same cell stands, whichever is stored last, and undo takes none of it back', async () => {
  const [older, newer] = [1, 2].map(time => ({ cell: '1', number: 1, decision: `of ${time}`, time: `2026-01-01T00:00:0${time}Z` }));
  for (const [known, change, left] of [[newer, { added: [older], removed: [] }, newer], [newer, { added: [], removed: [older] }, newer], [older, { added: [newer], removed: [] }, newer], [older, { added: [], removed: [older] }, undefined]]) {
    const journal = journalOf(storage());
    journal.add({ batch: 'b', ...change });
    assert.deepEqual(journal.applied({ batch: 'b', steps: [known], comment: '' }).steps[0], left);
    const { store, kept } = storeOf(known);
    await store.change({ batch: 'b', ...change });
    assert.equal(kept.get('b,1,1')?.decision, left?.decision);
  }
});

// A store of steps, which holds this one of the batch b.
function storeOf(step) {
  const kept = new Map([['b,1,1', step]]), requests = [];
  const steps = {
    get: key => ({ set onsuccess(use) { requests.push(() => use({ target: { result: kept.get(String(key)) } })); } }),
    put: value => kept.set(String([value.batch, value.number, value.cell]), value), delete: key => kept.delete(String(key)),
  };
  const transaction = { objectStore: () => steps, set oncomplete(end) { queueMicrotask(() => { for (const answer of requests) answer(); end(); }); } };
  return { store: new Store({ transaction: () => transaction }), kept };
}
