import assert from 'node:assert/strict';
import { test } from 'node:test';
import { outcome } from './annotation.js';

const many = words => ({ one: words, many: `${words}s` });
const parts = Object.fromEntries(['decided', 'added', 'same', 'left'].map(part => [part, many(`{count} ${part}`)]));
const texts = {
  coco_read: many('{count} box'), coco_outside: many('{count} outside'), coco_absent: many('{count} absent'),
  coco_parts: { ...parts, unknown: many('{count} unknown ({names})'), failed: many('{count} failed ({why})') },
};
const nothing = { decided: [], added: 0, same: 0, left: 0, unknown: [], failed: 0, why: '', outside: 0, absent: 0 };

test('what came of the boxes of a file: what there is none of is left out, and each unknown category is named once', () => {
  assert.equal(outcome(nothing, texts), '0 boxs.');
  const found = { ...nothing, decided: ['1', '2'], added: 1, unknown: ['red', 'red', 'blue'], failed: 1, why: 'busy', outside: 2 };
  assert.equal(outcome(found, texts), '7 boxs: 2 decideds, 1 added, 3 unknown (red, blue)s, 1 failed (busy); 2 outsides.');
});
