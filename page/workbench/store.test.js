import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Journal, inOrder, webStorage } from './store.js';

// A web storage as far as the journal asks for it.
function storage() {
  const kept = new Map();
  return { keys: () => [...kept.keys()], getItem: key => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value), removeItem: key => kept.delete(key) };
}

const entry = number => ({ batch: 'b', added: [{ cell: '1', number, decision: 'ig', time: 't' }], removed: [] });

const KEY = 'blood-cells-journal-';

test('a step that was not stored when the page closed is found by the next one, once', () => {
  const kept = storage(), next = new Journal(kept, `${KEY}3`);
  new Journal(kept, `${KEY}1`).add(entry(1));
  new Journal(kept, `${KEY}2`).add(entry(2));
  assert.deepEqual(next.takeOver().map(each => each.added[0].number).sort(), [1, 2]);
  assert.deepEqual(next.takeOver(), []);
});

test('a page that closes before it has stored what it found leaves it to the next one', () => {
  const kept = storage();
  new Journal(kept, `${KEY}1`).add(entry(1));
  new Journal(kept, `${KEY}2`).takeOver();
  const last = new Journal(kept, `${KEY}3`), [found] = last.takeOver();
  assert.deepEqual(found, entry(1));
  last.remove(found);
  assert.deepEqual(kept.keys(), []);
});

test('a step that was stored leaves the journal', () => {
  const kept = storage(), journal = new Journal(kept, 'blood-cells-journal-1'), [first, second] = [entry(1), entry(2)];
  journal.add(first);
  journal.add(second);
  journal.remove(first);
  assert.deepEqual(JSON.parse(kept.getItem(`${KEY}1`)), [second]);
  journal.remove(second);
  assert.deepEqual(kept.keys(), []);
});

test('what the store has not got yet is added to what it has, and what was taken back is left out', () => {
  const journal = new Journal(storage(), 'blood-cells-journal-1'), [one, two, three] = [1, 2, 3].map(number => entry(number).added[0]);
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
    const journal = new Journal(kept, 'blood-cells-journal-1');
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
