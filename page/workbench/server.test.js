import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Said, Server } from './server.js';

const settings = { language: 'es', texts: { errors: { server_gone: 'gone', no_answer: 'too late' } } };

function served(answer) {
  const asked = [], said = [];
  const server = new Server({ async export(values) { asked.push(values); return answer(); } }, null, settings, words => said.push(words));
  return { server, asked, said };
}

test('a question says the language of the page', async () => {
  const { server, asked, said } = served(() => ({ name: 'a.csv' }));
  assert.deepEqual(await server.ask('export', { kind: 'csv' }), { name: 'a.csv' });
  assert.deepEqual([asked, said], [[{ language: 'es', kind: 'csv' }], []]);
});

for (const [what, answer, words] of [
  ['that is refused', () => ({ error: { code: 'busy', text: 'busy' } }), 'busy'], ['without an answer', () => null, 'gone'], ['that fails', () => { throw new Error('network'); }, 'gone'],
]) {
  test(`a question ${what} is told to the person, and has no answer`, async () => {
    const { server, said } = served(answer);
    assert.equal(await server.ask('export', {}), null);
    assert.deepEqual(said, [words]);
    await assert.rejects(server.answered('export', {}), error => error instanceof Said && error.message === words);
  });
}

test('a question whose failure may pass is asked again, as long as it is wanted', async context => {
  context.mock.method(globalThis, 'setTimeout', done => queueMicrotask(done));
  const answers = [{ error: { code: 'busy', text: 'busy' } }, null, { name: 'a.csv' }], { server, asked } = served(() => answers.shift());
  const ask = () => server.answered('export', {});
  assert.deepEqual([await server.again(ask, () => true), asked.length], [{ name: 'a.csv' }, 3]);
  for (const [code, isWanted, times] of [['busy', true, 5], ['busy', false, 1], ['too_large', true, 1]]) {
    const failing = served(() => ({ error: { code, text: 'no' } }));
    await assert.rejects(failing.server.again(() => failing.server.answered('export', {}), () => isWanted), { message: 'no' });
    assert.equal(failing.asked.length, times);
  }
});

test('a person is told a sentence that is for them, and of any other failure that the server is gone', () => {
  const { server } = served();
  assert.deepEqual([new Said('too many'), new TypeError('x is undefined')].map(error => server.reason(error)), ['too many', 'gone']);
});

test('no answer and no upload is waited for without end', async context => {
  const limits = [];
  context.mock.method(AbortSignal, 'timeout', limit => { limits.push(limit / 60_000); return AbortSignal.abort(); });
  context.mock.method(AbortSignal.prototype, 'addEventListener', (_, act) => act());
  const silent = () => new Promise(() => {}), said = [];
  const server = new Server({ export: silent, classify: silent }, silent, settings, words => said.push(words));
  assert.equal(await server.ask('export', {}), null);
  for (const asked of [server.call('classify', {}), server.upload('a file')]) await assert.rejects(asked, error => error instanceof Said && error.message === 'too late' && error.code === 'no_answer');
  assert.deepEqual([said, limits], [['too late'], [5, 15, 15]]);
});
