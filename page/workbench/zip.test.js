import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unzip } from './zip.js';

// Python's zipfile wrote both: one without compression and with a long comment, one with it.
const STORED = 'UEsDBBQAAAAAAAAAIVwIj2w/CgAAAAoAAAAIAAAAYS9iLkpTT057Im9uZSI6IDF9UEsDBBQAAAAAAAAAIVxDv6ajAgAAAAIAAAAMAAAALmhpZGRlbi5qc29ue31QSwMEFAAAAAAAAAAhXEO/pqMCAAAAAgAAABEAAABfX01BQ09TWC8uX2IuanNvbnt9UEsDBBQAAAAAAAAAIVzHp4s7BAAAAAQAAAAFAAAAYy50eHR0ZXh0UEsBAhQDFAAAAAAAAAAhXAiPbD8KAAAACgAAAAgAAAAAAAAAAAAAAIABAAAAAGEvYi5KU09OUEsBAhQDFAAAAAAAAAAhXEO/pqMCAAAAAgAAAAwAAAAAAAAAAAAAAIABMAAAAC5oaWRkZW4uanNvblBLAQIUAxQAAAAAAAAAIVxDv6ajAgAAAAIAAAARAAAAAAAAAAAAAACAAVwAAABfX01BQ09TWC8uX2IuanNvblBLAQIUAxQAAAAAAAAAIVzHp4s7BAAAAAQAAAAFAAAAAAAAAAAAAACAAY0AAABjLnR4dFBLBQYAAAAABAAEAOIAAAC0AAAAIANhIGNvbW1lbnQgYXQgdGhlIGVuZGEgY29tbWVudCBhdCB0aGUgZW5kYSBjb21tZW50IGF0IHRoZSBlbmRhIGNvbW1lbnQgYXQgdGhlIGVuZGEgY29tbWVudCBhdCB0aGUgZW5kYSBjb21tZW50IGF0IHRoZSBlbmRhIGNvbW1lbnQgYXQgdGhlIGVuZGEgY29tbWVudCBhdCB0aGUgZW5kYSBjb21tZW50IGF0IHRoZSBlbmRhIGNvbW1lbnQgYXQgdGhlIGVuZGEgY29tbWVudCBhdCB0aGUgZW5kYSBjb21tZW50IGF0IHRoZSBlbmRhIGNvbW1lbnQgYXQgdGhlIGVuZGEgY29tbWVudCBhdCB0aGUgZW5kYSBjb21tZW50IGF0IHRoZSBlbmRhIGNvbW1lbnQgYXQgdGhlIGVuZGEgY29tbWVudCBhdCB0aGUgZW5kYSBjb21tZW50IGF0IHRoZSBlbmRhIGNvbW1lbnQgYXQgdGhlIGVuZGEgY29tbWVudCBhdCB0aGUgZW5kYSBjb21tZW50IGF0IHRoZSBlbmRhIGNvbW1lbnQgYXQgdGhlIGVuZGEgY29tbWVudCBhdCB0aGUgZW5kYSBjb21tZW50IGF0IHRoZSBlbmRhIGNvbW1lbnQgYXQgdGhlIGVuZGEgY29tbWVudCBhdCB0aGUgZW5kYSBjb21tZW50IGF0IHRoZSBlbmRhIGNvbW1lbnQgYXQgdGhlIGVuZGEgY29tbWVudCBhdCB0aGUgZW5kYSBjb21tZW50IGF0IHRoZSBlbmRhIGNvbW1lbnQgYXQgdGhlIGVuZGEgY29tbWVudCBhdCB0aGUgZW5kYSBjb21tZW50IGF0IHRoZSBlbmRhIGNvbW1lbnQgYXQgdGhlIGVuZGEgY29tbWVudCBhdCB0aGUgZW5kYSBjb21tZW50IGF0IHRoZSBlbmRhIGNvbW1lbnQgYXQgdGhlIGVuZGEgY29tbWVudCBhdCB0aGUgZW5kYSBjb21tZW50IGF0IHRoZSBlbmRhIGNvbW1lbnQgYXQgdGhlIGVuZA==';
const DEFLATED = 'UEsDBBQAAAAIAAAAIVwWelzGGwAAAOYFAAAGAAAAYi5qc29uq1bKTcyrVLJSiDbUURhFo2gUjaJRNKxQbC0AUEsBAhQDFAAAAAgAAAAhXBZ6XMYbAAAA5gUAAAYAAAAAAAAAAAAAAIABAAAAAGIuanNvblBLBQYAAAAAAQABADQAAAA/AAAAAAA=';
const bytes = text => Buffer.from(text, 'base64');
const opened = content => unzip({ name: 'a.zip', file: new Blob([content]) });

test('JSON files come out as they went in, and hidden ones are left', async () => {
  const { json, isJsonAlone } = await opened(bytes(STORED));
  assert.deepEqual(json.map(each => each.name), ['a.zip/a/b.JSON']);
  assert.equal(await json[0].file.text(), '{"one": 1}');
  assert.equal(isJsonAlone, false);
});

test('packed ones are unpacked', async () => {
  const { json, isJsonAlone } = await opened(bytes(DEFLATED));
  assert.deepEqual(JSON.parse(await json[0].file.text()), { many: Array(500).fill(1) });
  assert.equal(isJsonAlone, true);
});

test('nothing comes out of what is no whole ZIP', async () => {
  const whole = bytes(DEFLATED), damaged = Buffer.from(whole).fill(255, 40, 60);
  for (const content of ['', 'no ZIP', 'x'.repeat(70000), whole.subarray(0, 90), whole.subarray(30), damaged]) {
    assert.deepEqual(await opened(content), { json: [], isJsonAlone: false });
  }
});
