import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes } from './download.js';

test('every byte of a file comes through', () => {
  const all = Uint8Array.from({ length: 256 }, (_, value) => value);
  assert.deepEqual(bytes(Buffer.from(all).toString('base64')), all);
});
