import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Intake, isKeptModel, readJson, refusal, walk } from './intake.js';
import { create } from './review.js';

const limits = { files: 2, file_bytes: 9, suffixes: ['.png', '.jpg'] };
const errors = { no_pictures: 'none', too_many: '{count} of {most}', file_too_large: 'too large', no_json: 'not {name}' };
const chosen = (name, text = '') => ({ name, file: new File([text], name) });
const review = create('b', '2026-01-01');
const coco = { images: [], annotations: [], categories: [] };
const json = (name, value) => chosen(name, JSON.stringify(value));

test('a JSON file is a saved review, boxes, or something else', async () => {
  assert.deepEqual(await readJson(json('a.json', review)), { name: 'a.json', review });
  assert.deepEqual(await readJson(json('b.json', coco)), { name: 'b.json', images: [] });
  for (const text of ['{}', 'null', '{"format": 1', '']) assert.deepEqual(await readJson(chosen('c.json', text)), { name: 'c.json' });
});

// Python's zipfile wrote both.
const KEPT = 'UEsDBBQAAAAAAAAAKFwAAAAAAAAAAAAAAAASAAAAbW9kZWwvYWRhcHRlZC5qc29uUEsDBBQAAAAAAAAAKFwAAAAAAAAAAAAAAAAXAAAAbW9kZWwvbW9kZWwuc2FmZXRlbnNvcnNQSwECFAMUAAAAAAAAAChcAAAAAAAAAAAAAAAAEgAAAAAAAAAAAAAAgAEAAAAAbW9kZWwvYWRhcHRlZC5qc29uUEsBAhQDFAAAAAAAAAAoXAAAAAAAAAAAAAAAABcAAAAAAAAAAAAAAIABMAAAAG1vZGVsL21vZGVsLnNhZmV0ZW5zb3JzUEsFBgAAAAACAAIAhQAAAGUAAAAAAA==';
const OTHER = 'UEsDBBQAAAAAAAAAKFwAAAAAAAAAAAAAAAASAAAAbW9kZWwvYWRhcHRlZC5qc29uUEsDBBQAAAAAAAAAKFwAAAAAAAAAAAAAAAAVAAAAbW9kZWwuc2FmZXRlbnNvcnMudHh0UEsBAhQDFAAAAAAAAAAoXAAAAAAAAAAAAAAAABIAAAAAAAAAAAAAAIABAAAAAG1vZGVsL2FkYXB0ZWQuanNvblBLAQIUAxQAAAAAAAAAKFwAAAAAAAAAAAAAAAAVAAAAAAAAAAAAAACAATAAAABtb2RlbC5zYWZldGVuc29ycy50eHRQSwUGAAAAAAIAAgCDAAAAYwAAAAAA';

test('a ZIP is a kept model where it holds both files of one', async () => {
  const isKept = (name, content) => isKeptModel(chosen(name, content));
  const [kept, other] = [KEPT, OTHER].map(text => Buffer.from(text, 'base64'));
  assert.deepEqual(await Promise.all([isKept('a.ZIP', kept), isKept('a.png', kept), isKept('a.zip', other), isKept('a.zip', 'adapted.json model.safetensors')]), [true, false, false, false]);
});

test('too many files, too large ones and none at all are refused in words', () => {
  const words = (pictures, models = []) => refusal(pictures, models, limits, errors);
  const small = chosen('a.png', 'x'), large = chosen('b.png', 'x'.repeat(10));
  assert.deepEqual([words([]), words([small, small, small]), words([small, large]), words([], [large])], ['none', '3 of 2', 'b.png: too large', 'b.png: too large']);
  assert.deepEqual([words([small, small]), words([], [small])], ['', '']);
});

// What a browser gives of a dropped file, and of a dropped folder, whose reader answers in parts until nothing is left.
const fileEntry = path => ({ isFile: true, name: path.split('/').at(-1), fullPath: `/${path}`, file: give => give(`the file ${path}`) });
const folderEntry = (name, ...parts) => ({ isFile: false, name, createReader: () => ({ readEntries: give => give(parts.shift() ?? []) }) });

async function walked(entry, most = 9) {
  const found = [];
  await walk(entry, found, most, limits.suffixes);
  return found.map(each => each.name);
}

test('a dropped folder gives its pictures with their folders, in whatever parts it is read', async () => {
  const dropped = () => folderEntry('slide', [fileEntry('slide/1.png'), folderEntry('a', [fileEntry('slide/a/1.PNG')])], [fileEntry('slide/notes.txt'), fileEntry('slide/.1.png'), fileEntry('slide/boxes.json')]);
  assert.deepEqual(await walked(dropped()), ['slide/1.png', 'slide/a/1.PNG', 'slide/boxes.json']);
  assert.deepEqual(await walked(dropped(), 2), ['slide/1.png', 'slide/a/1.PNG']);
  assert.deepEqual(await walked(folderEntry('.git', [fileEntry('.git/1.png')])), []);
});

// What becomes of files, as a list of [what, names or words].
async function taken(files, isBusy = false, file_bytes = 9, ready = async () => {}) {
  const found = [], note = what => value => { found.push([what, value.map?.(each => each.name) ?? value.name ?? value.batch ?? value]); };
  const root = { querySelectorAll: () => [], addEventListener() {} };
  const on = { ...Object.fromEntries(['review', 'model', 'pictures', 'boxes', 'say'].map(what => [what, note(what)])), isBusy: () => isBusy, ready: () => ready(found) };
  await new Intake(root, { limits: { ...limits, file_bytes }, texts: { errors } }, on).take(files);
  return found;
}

const picture = chosen('a.png'), model = chosen('m.zip', Buffer.from(KEPT, 'base64')), zip = chosen('p.zip');

test('files go where they belong: a kept model before the pictures, the boxes after them', async () => {
  const files = [json('boxes.json', coco), chosen('notes.txt'), picture, model, zip];
  assert.deepEqual(await taken(files, false, 999), [['say', ''], ['model', 'm.zip'], ['pictures', ['a.png', 'p.zip']], ['boxes', ['boxes.json']]]);
});

// ZIPs that Python's zipfile wrote: the boxes alone, with a picture and a further JSON file, and such a file alone.
const zipped = {
  boxes: 'UEsDBBQAAAAIAAAAIVwAAAAAAgAAAAAAAAAMAAAAYW5ub3RhdGlvbnMvAwBQSwMEFAAAAAgAAAAhXKhzMcopAAAAMwAAACIAAABhbm5vdGF0aW9ucy9pbnN0YW5jZXNfZGVmYXVsdC5qc29uq1bKzE1MTy1WslKIjtVRUErMy8svSSzJzM+DCyUnlqSm5xdlQhXVAgBQSwECFAMUAAAACAAAACFcAAAAAAIAAAAAAAAADAAAAAAAAAAAAAAAgAEAAAAAYW5ub3RhdGlvbnMvUEsBAhQDFAAAAAgAAAAhXKhzMcopAAAAMwAAACIAAAAAAAAAAAAAAIABLAAAAGFubm90YXRpb25zL2luc3RhbmNlc19kZWZhdWx0Lmpzb25QSwUGAAAAAAIAAgCKAAAAlQAAAAAA',
  both: 'UEsDBBQAAAAIAAAAIVyoczHKKQAAADMAAAAiAAAAYW5ub3RhdGlvbnMvaW5zdGFuY2VzX2RlZmF1bHQuanNvbqtWysxNTE8tVrJSiI7VUVBKzMvLL0ksyczPgwslJ5akpucXZUIV1QIAUEsDBBQAAAAIAAAAIVyDFtyMAwAAAAEAAAAMAAAAaW1hZ2VzLzEucG5nqwAAUEsDBBQAAAAIAAAAIVxDv6ajBAAAAAIAAAAKAAAAbm90ZXMuanNvbquuBQBQSwECFAMUAAAACAAAACFcqHMxyikAAAAzAAAAIgAAAAAAAAAAAAAAgAEAAAAAYW5ub3RhdGlvbnMvaW5zdGFuY2VzX2RlZmF1bHQuanNvblBLAQIUAxQAAAAIAAAAIVyDFtyMAwAAAAEAAAAMAAAAAAAAAAAAAACAAWkAAABpbWFnZXMvMS5wbmdQSwECFAMUAAAACAAAACFcQ7+mowQAAAACAAAACgAAAAAAAAAAAAAAgAGWAAAAbm90ZXMuanNvblBLBQYAAAAAAwADAMIAAADCAAAAAAA=',
  other: 'UEsDBBQAAAAIAAAAIVxDv6ajBAAAAAIAAAAKAAAAbm90ZXMuanNvbquuBQBQSwECFAMUAAAACAAAACFcQ7+mowQAAAACAAAACgAAAAAAAAAAAAAAgAEAAAAAbm90ZXMuanNvblBLBQYAAAAAAQABADgAAAAsAAAAAAA=',
};

test('boxes in a ZIP of an annotation tool are taken, with its pictures where it has some', async () => {
  const named = which => [{ name: `${which}.zip`, file: new Blob([Buffer.from(zipped[which], 'base64')]) }];
  const boxes = which => ['boxes', [`${which}.zip/annotations/instances_default.json`]];
  assert.deepEqual(await taken(named('boxes'), false, 999), [['say', ''], boxes('boxes')]);
  assert.deepEqual(await taken(named('both'), false, 999), [['say', ''], ['pictures', ['both.zip']], boxes('both')]);
  assert.deepEqual(await taken(named('other'), false, 999), [['say', ''], ['pictures', ['other.zip']]]);
});

test('nothing becomes of files before it is known which batch is open', async () => {
  const found = await taken([picture], false, 9, async so => { await new Promise(setImmediate); so.push('ready'); });
  assert.deepEqual(found, ['ready', ['say', ''], ['pictures', ['a.png']]]);
});

test('boxes need no pictures, and what is said while others are classified stays', async () => {
  assert.deepEqual(await taken([json('boxes.json', coco)], true), [['boxes', ['boxes.json']]]);
});

test('a saved review is taken alone, and a foreign JSON file stops everything', async () => {
  assert.deepEqual(await taken([picture, json('r.json', review)]), [['review', 'b']]);
  assert.deepEqual(await taken([picture, json('x.json', {})]), [['say', 'not x.json']]);
  assert.deepEqual(await taken([chosen('notes.txt')]), [['say', 'none']]);
});
