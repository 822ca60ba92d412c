import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Classification } from './classification.js';
import { create } from './review.js';
import { Said, Server } from './server.js';

const errors = { no_pictures: 'none', too_many: '{count} of {most}', batch_full: 'full at {most}', server_gone: 'gone', server_retry: 'again' };
const settings = { language: 'en', limits: { files: 20, cells: 20 }, texts: { errors, progress: '{done} of {total}', take_lost: '{count} lost', pictures_known: { one: '1 known', many: '{count} known' } } };
const pictures = (count, from = 1) => Array.from({ length: count }, (_, index) => ({ name: `${index + from}.png`, file: `file ${index + from}` }));
const classified = ({ batch, sources }) => ({ batch, cells: sources.map(({ id, name }) => ({ id, name })) });
const settled = async () => { for (let turn = 0; turn < 100; turn += 1) await null; };

// A classification whose server answers by `classify`, at once unless that waits. `asked` are its requests, `said` what a person reads.
function classifying(context, classify = classified, other = {}) {
  context.mock.method(globalThis, 'setTimeout', done => queueMicrotask(done)); // until a failed request is sent again
  const asked = [], said = [], events = [], left = [], functions = { classify: async values => { asked.push(values); return classify(values, asked.length); }, ...other };
  const server = new Server(functions, async file => ({ path: `path of ${file}` }), settings, words => said.push(words));
  const editor = {
    review: null, phase: 'empty', sources: new Map(),
    begin() { this.review = { ...create('b', ''), model: 'm@1' }; this.sources.clear(); this.phase = 'classifying'; },
    enter(phase) { this.phase = phase; },
    async add(answer, gone = []) { this.review = { ...this.review, cells: [...this.review.cells.filter(each => !gone.includes(each.id)), ...answer.cells] }; },
  };
  const on = {
    say: words => said.push(words), models: () => ({ model: 'chosen', second: '' }), progress: (share, words) => events.push([share, words]),
    chosen: count => events.push(['chosen', count]), left: count => left.push(count), ended: () => events.push('ended'), retaken: () => events.push('retaken'),
  };
  return { classification: new Classification(settings, server, editor, on), editor, asked, said, events, left };
}

const shown = editor => editor.review.cells.map(each => each.name);

test('pictures are asked for in small requests, and come in their order', async context => {
  const { classification, editor, asked, events } = classifying(context);
  await classification.classify(pictures(18));
  assert.deepEqual(asked.map(each => each.sources.length), [8, 8, 2]);
  assert.deepEqual(asked[0].sources[0], { name: '1.png', id: '1', path: 'path of file 1' });
  assert.deepEqual([asked[0].batch, asked[0].model, asked[0].how], ['b', 'chosen', 'auto']);
  assert.deepEqual(shown(editor), pictures(18).map(each => each.name));
  assert.deepEqual(events, [[0, ''], [8 / 18, '8 of 18'], [16 / 18, '16 of 18'], [1, '18 of 18'], 'ended']);
  assert.deepEqual([editor.phase, editor.sources.get('18').file], ['review', 'file 18']);
});

test('two requests are under way at once, not more', async context => {
  const open = [], { classification, asked } = classifying(context, values => new Promise(resolve => open.push(() => resolve(classified(values)))));
  const done = classification.classify(pictures(20));
  await settled();
  assert.equal(asked.length, 2);
  open[0]();
  await settled();
  assert.equal(asked.length, 3);
  open.slice(1).forEach(answer => answer());
  await done;
});

test('further pictures are asked for with the models that the batch was started with, under ids of their own', async context => {
  const { classification, editor, asked } = classifying(context);
  await classification.classify(pictures(1));
  classification.take(pictures(1, 2));
  await settled();
  assert.deepEqual([asked[1].model, shown(editor)], ['m', ['1.png', '2.png']]);
  assert.match(asked[1].sources[0].id, /.-1$/);
});

test('a request that fails for now is sent again, with its pictures uploaded anew; one that is refused is said', async context => {
  const busy = { error: { code: 'busy', text: 'busy' } }, refused = { error: { code: 'no_model', text: 'no such model' } };
  const passing = classifying(context, (values, count) => [null, busy, classified(values)][count - 1]);
  await passing.classification.classify(pictures(1));
  assert.deepEqual([passing.said, shown(passing.editor)], [['again', '', 'busy', ''], ['1.png']]);
  const failing = classifying(context, () => refused);
  await failing.classification.classify(pictures(1));
  assert.deepEqual([failing.asked.length, failing.said, failing.editor.phase], [1, ['no such model'], 'empty']);
  const gone = classifying(context, () => { throw new Error('network'); });
  await gone.classification.classify(pictures(1));
  assert.deepEqual([gone.asked.length, gone.said.at(-1)], [5, 'gone']);
});

test('models of the Hub that left the server are fetched before a request is sent again', async context => {
  const fetched = [], missing = { error: { code: 'hub_not_cached', text: 'fetching' } };
  const { classification } = classifying(context, (values, count) => (count === 1 ? missing : classified(values)), { refresh: async ({ model }) => { fetched.push(model); return {}; } });
  await classification.classify(pictures(1));
  assert.deepEqual(fetched, ['chosen']);
});

test('an answer that comes after the person stopped, or opened another batch, adds nothing', async context => {
  for (const stop of ['cancel', 'drop']) {
    let answer;
    const { classification, editor, said } = classifying(context, values => new Promise(resolve => { answer = () => resolve(classified(values)); }));
    const done = classification.classify(pictures(1));
    await settled();
    classification[stop]();
    answer();
    await done;
    assert.deepEqual([editor.review.cells, said, editor.phase], [[], [], stop === 'cancel' ? 'empty' : 'classifying'], stop);
  }
});

test('what fails after the person stopped is neither said nor sent again, and a stopped ZIP starts no request', async context => {
  let end;
  const held = () => new Promise((resolve, reject) => { end = { resolve, reject }; });
  const failing = classifying(context, held), done = failing.classification.classify(pictures(1));
  await settled();
  failing.classification.cancel();
  end.reject(new Error('network'));
  await done;
  assert.deepEqual([failing.asked.length, failing.said], [1, []]);
  const zip = classifying(context, classified, { open_archive: held, discard: async () => ({}) }), listed = zip.classification.classify([{ name: 'a.zip', file: 'a.zip' }]);
  await settled();
  zip.classification.cancel();
  end.resolve({ entries: [{ entry: 0, name: '1.png' }] });
  await listed;
  assert.deepEqual(zip.asked, []);
});

test('what is added meanwhile has its turn, one after another', async context => {
  const { classification, editor, events } = classifying(context);
  const done = classification.classify(pictures(1));
  classification.take(pictures(1, 2));
  classification.take(pictures(1, 3));
  await done;
  await settled();
  assert.deepEqual([shown(editor), events.filter(each => each === 'ended').length], [['1.png', '2.png', '3.png'], 1]);
});

test('where a batch fails before its first cell, what waited is what the button classifies, then what failed', async context => {
  let isBroken = true;
  const { classification, editor, events } = classifying(context, values => (isBroken ? { error: { code: 'x', text: 'x' } } : classified(values)));
  classification.take(pictures(1));
  const done = classification.classify();
  classification.take(pictures(1, 2));
  await done;
  assert.deepEqual(events.at(-1), ['chosen', 2]);
  isBroken = false;
  await classification.classify();
  await settled();
  assert.deepEqual(shown(editor), ['2.png', '1.png']);
});

test('pictures that became cells, and those of a batch that is open no more, are chosen no more', async context => {
  const { classification, events } = classifying(context), chosen = () => events.filter(([what]) => what === 'chosen').map(([, count]) => count);
  classification.take(pictures(2));
  await classification.classify();
  assert.deepEqual([classification.chosen, chosen()], [null, [2, 0]]);
  const stopped = classifying(context, () => new Promise(() => {}));
  stopped.classification.take(pictures(2));
  stopped.classification.classify();
  await settled();
  stopped.classification.cancel();
  assert.equal(stopped.classification.chosen.length, 2); // the button starts them again
  stopped.classification.drop();
  assert.deepEqual([stopped.classification.chosen, stopped.events.at(-1)], [null, ['chosen', 0]]);
});

test('what had no answer is left, and a person goes on with it', async context => {
  let isGone = false;
  const { classification, editor, asked, said, left } = classifying(context, (values, count) => { isGone ||= count === 2; return isGone ? null : classified(values); });
  await classification.classify(pictures(18));
  assert.deepEqual([editor.phase, shown(editor).length, said.at(-1), left.at(-1)], ['review', 8, 'gone', 10]);
  isGone = false;
  classification.goOn();
  await settled();
  await settled();
  assert.deepEqual([shown(editor), left.at(-1)], [pictures(18).map(each => each.name), 0]);
  assert.ok(asked.at(-1).sources.every(({ id }) => id.includes('-'))); // as further pictures
});

test('what a person stops is left, with what waits for its turn; before the first cell it waits for the button', async context => {
  const { classification, editor, left, events } = classifying(context, values => (values.sources.length === 8 ? classified(values) : new Promise(() => {})));
  classification.take(pictures(2, 30));
  classification.classify(pictures(9));
  classification.take(pictures(2, 20));
  await settled();
  classification.cancel();
  assert.deepEqual([shown(editor).length, left.at(-1), classification.waiting], [8, 3, []]);
  classification.drop();
  assert.equal(left.at(-1), 0);
  const early = classifying(context, () => new Promise(() => {}));
  early.classification.take(pictures(2));
  early.classification.classify();
  early.classification.take(pictures(1, 3));
  await settled();
  early.classification.cancel();
  assert.deepEqual([early.events.at(-1), early.left, events.length > 0], [['chosen', 3], [], true]);
});

test('a picture that is in the batch already is passed over, also one in a ZIP', async context => {
  const other = { open_archive: async () => ({ entries: [{ entry: 0, name: 'a/1.png' }, { entry: 1, name: 'a/2.png' }] }), discard: async () => ({}) };
  const { classification, editor, said } = classifying(context, classified, other);
  const file = name => ({ name, file: { name, size: 9, lastModified: 1 } }), folder = [file('f/1.png'), file('f/2.png'), file('a.zip')];
  await classification.classify(folder);
  await classification.classify([...folder, file('g/1.png')], true);
  assert.deepEqual([shown(editor), said], [['f/1.png', 'f/2.png', 'a/1.png', 'a/2.png', 'g/1.png'], ['4 known']]);
  await classification.classify([{ ...file('f/1.png'), file: { size: 9, lastModified: 2 } }], true); // another one by now
  assert.equal(shown(editor).length, 6);
});

test('what the page itself refuses is not offered again', async context => {
  const { classification, left } = classifying(context);
  await classification.classify(pictures(11));
  await classification.classify(pictures(10, 12), true);
  assert.equal(left.at(-1), 0);
});

test('a ZIP is uploaded once, its pictures are asked for by their places in it, and then it is deleted', async context => {
  const discarded = [], other = { open_archive: async ({ path }) => ({ entries: [{ entry: 0, name: `a/1.png in ${path}` }] }), discard: async ({ paths }) => { discarded.push(...paths); } };
  const { classification, asked } = classifying(context, classified, other);
  await classification.classify([{ name: 'A.ZIP', file: 'A.ZIP' }, ...pictures(1)]);
  assert.deepEqual(asked[0].sources.map(({ name, path, entry }) => [name, path, entry]), [['a/1.png in path of A.ZIP', 'path of A.ZIP', 0], ['1.png', 'path of file 1', undefined]]);
  assert.deepEqual(discarded, ['path of A.ZIP']);
});

test('a picture in a ZIP is taken in another way too: the ZIP is uploaded anew, and deleted again', async context => {
  const discarded = [], other = { open_archive: async () => ({ entries: [{ entry: 4, name: '1.png' }] }), discard: async ({ paths }) => { discarded.push(...paths); } };
  const { classification, editor, asked, events } = classifying(context, classified, other);
  await classification.classify([{ name: 'a.zip', file: 'a.zip' }]);
  await classification.takeAs({ ...editor.review.cells[0], place: null });
  assert.deepEqual([asked[1].sources, asked[1].how], [[{ id: '1', name: '1.png', path: 'path of a.zip', entry: 4 }], 'field']);
  assert.deepEqual([discarded, events.at(-1)], [['path of a.zip', 'path of a.zip'], 'retaken']);
});

test('too many pictures are refused before one is classified, and nothing chosen is said', async context => {
  const { classification, asked, said } = classifying(context);
  await classification.classify(pictures(21));
  await classification.classify();
  await classification.classify(pictures(11));
  await classification.classify(pictures(10, 12), true);
  assert.deepEqual([said, asked.length], [['21 of 20', 'none', 'full at 20'], 2]);
});

test('a picture is taken in another way; cells that a person decided go only with a yes', async context => {
  const { classification, editor, asked, events, said } = classifying(context, ({ sources: [{ id }] }) => ({ batch: 'b', cells: [{ id: `${id}.1`, name: 'field', place: { box: [] } }] }));
  const single = { id: '1', name: '1.png', status: 'ok', place: null }, steps = [{ cell: '1', number: 1, decision: 'ig', time: 't' }];
  editor.review = { ...create('b', ''), cells: [single], steps };
  editor.sources.set('1', { file: 'file 1' });
  globalThis.confirm = words => { said.push(words); return false; };
  await classification.takeAs(single);
  assert.deepEqual([shown(editor), asked[0].how, said.at(-1)], [['1.png'], 'field', '1 lost']);
  globalThis.confirm = () => true;
  await classification.takeAs(single);
  assert.deepEqual([shown(editor), events], [['field'], ['retaken', 'retaken']]);
  editor.review = { ...create('b', ''), cells: [single] };
  const late = classification.takeAs(single);
  editor.review = { ...create('c', ''), cells: [single] };
  await late;
  assert.deepEqual([shown(editor), events.length], [['1.png'], 2]);
  const stopped = classification.takeAs(single);
  classification.run += 1;
  await stopped;
  assert.deepEqual([shown(editor), events.length], [['1.png'], 2]);
});

test('what the review refuses of an answer is said, and what came before stays', async context => {
  const { classification, editor, said } = classifying(context), { add } = editor;
  editor.add = async answer => { if (editor.review.cells.length) throw new Said('another version'); await add.call(editor, answer); };
  await classification.classify(pictures(9));
  assert.deepEqual([editor.review.cells.length, editor.phase, said], [8, 'review', ['another version']]);
});
