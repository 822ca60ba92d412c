import assert from 'node:assert/strict';
import { test } from 'node:test';
import { choiceOf, scrolled } from './dragging.js';

test('near an edge what lies beyond it comes, elsewhere nothing moves', () => {
  const seen = { top: 100, bottom: 500 };
  assert.ok(scrolled(110, seen) < 0 && scrolled(50, seen) < 0);
  assert.ok(scrolled(490, seen) > 0);
  assert.equal(scrolled(300, seen), 0);
});

test('a group stands for its type, whatever its status, and a button for its choice', () => {
  assert.deepEqual([{ group: 'neutrophil' }, { group: 'unfamiliar/monocyte' }, { choice: 'two_cells', group: 'ig' }].map(choiceOf), ['neutrophil', 'monocyte', 'two_cells']);
});
