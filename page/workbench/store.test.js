import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Journal } from './store.js';

// localStorage as far as the journal asks for it.
function storage() {
  const kept = {};
  const hidden = (name, value) => Object.defineProperty(kept, name, { value });
  hidden('setItem', (key, value) => { kept[key] = value; });
  hidden('getItem', key => kept[key] ?? null);
  hidden('removeItem', key => { delete kept[key]; });
  return kept;
}

const entry = number => ({ batch: 'b', added: [{ cell: '1', number, decision: 'ig', time: 't' }], removed: [] });

test('a step that was not stored when the page closed is found by the next one, once', () => {
  const kept = storage();
  new Journal(kept, 'blood-cells-journal-1').add(entry(1));
  new Journal(kept, 'blood-cells-journal-2').add(entry(2));
  assert.deepEqual(Journal.left(kept).map(each => each.added[0].number).sort(), [1, 2]);
  assert.deepEqual(Journal.left(kept), []);
});

test('a step that was stored leaves the journal', () => {
  const kept = storage(), journal = new Journal(kept, 'blood-cells-journal-1'), [first, second] = [entry(1), entry(2)];
  journal.add(first);
  journal.add(second);
  journal.remove(first);
  assert.deepEqual(Journal.left(kept), [second]);
  journal.remove(second);
  assert.deepEqual(Journal.left(kept), []);
});

test('a storage that is full stops nobody', () => {
  const journal = new Journal({ setItem() { throw new Error('full'); }, removeItem() {} }, 'blood-cells-journal-1');
  journal.add(entry(1));
  assert.equal(journal.entries.length, 1);
});
