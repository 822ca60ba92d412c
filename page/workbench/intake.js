// Files that a person chooses or drops, sorted by what they are.

import { parse as parseCoco } from './coco.js';
import { parse } from './review.js';
import { names, unzip } from './zip.js';

// {name, and review or images: what a JSON file holds, neither where it holds something else}.
export async function readJson({ name, file }) {
  const value = await file.text().then(JSON.parse).catch(() => null);
  for (const [kind, read] of [['review', parse], ['images', parseCoco]]) {
    try { return { name, [kind]: read(value) }; } catch { /* of the other kind, or none */ }
  }
  return { name };
}

// Whether a file, or a folder that it is in, is another program's leaving.
export function isHidden(name) {
  return name.split('/').some(part => part.startsWith('.'));
}

// Whether a ZIP is a model that the page gave away.
export async function isKeptModel({ name, file }) {
  const found = endsWith(name, ['.zip']) ? (await names(file)).map(each => each.split('/').at(-1)) : [];
  return ['adapted.json', 'model.safetensors'].every(part => found.includes(part));
}

// The files below what was dropped, with their folders in their names; pictures alone, and no more than `most`.
export async function walk(entry, found, most, suffixes) {
  if (found.length >= most || isHidden(entry.name)) return;
  if (entry.isFile) {
    const name = entry.fullPath.replace(/^\//, '');
    if (!endsWith(name, [...suffixes, '.zip', '.json'])) return;
    found.push({ name, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) });
    return;
  }
  const reader = entry.createReader();
  for (;;) { // a reader gives a hundred at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const each of some) await walk(each, found, most, suffixes);
  }
}

// Why pictures and models cannot be taken, in words; otherwise nothing.
export function refusal(pictures, models, { files, file_bytes }, { no_pictures, too_many, file_too_large }) {
  if (!pictures.length && !models.length) return no_pictures;
  if (pictures.length > files) return too_many.replace('{count}', pictures.length).replace('{most}', files);
  const large = [...pictures, ...models].find(each => each.file.size > file_bytes);
  return large ? `${large.name}: ${file_too_large}` : '';
}

function endsWith(name, suffixes) {
  return suffixes.some(suffix => name.toLowerCase().endsWith(suffix));
}

export class Intake {
  // `on` is what becomes of files: review(review), model(file, isWithPictures), pictures(chosen), boxes(files); say(words) says why
  // there is none, isBusy() whether what is said at the moment stays, and ready() ends once it is known which batch is open.
  constructor(root, { limits, texts }, on) {
    Object.assign(this, { root, limits, texts, on });
    for (const input of root.querySelectorAll('input[type=file]')) input.addEventListener('change', () => this.pick(input));
    root.addEventListener('dragover', event => { if (event.dataTransfer?.types.includes('Files')) { event.preventDefault(); root.classList.add('dropping'); } });
    root.addEventListener('dragleave', event => { if (!event.relatedTarget) root.classList.remove('dropping'); });
    root.addEventListener('drop', event => this.drop(event));
  }

  async pick(input) {
    const chosen = [...input.files].map(file => ({ file, name: file.webkitRelativePath || file.name })).filter(({ name }) => !isHidden(name));
    input.value = ''; // so that the same files can be chosen again
    this.root.querySelector('#adding').close();
    await this.take(chosen);
  }

  async drop(event) {
    this.root.classList.remove('dropping');
    const { items = [], files = [] } = event.dataTransfer ?? {};
    if (!files.length) return;
    event.preventDefault();
    const entries = [...items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.length) return this.take([...files].map(file => ({ file, name: file.name })));
    const found = [];
    for (const entry of entries) await walk(entry, found, this.limits.files + 1, this.limits.suffixes);
    await this.take(found);
  }

  // The boxes that an annotation tool packed into a ZIP; one without pictures is added to `annotations`.
  async boxesIn(zip, annotations) {
    const { json, isJsonAlone } = await unzip(zip), boxes = (await Promise.all(json.map(readJson))).filter(each => each.images);
    if (isJsonAlone && boxes.length) annotations.push(zip);
    return boxes;
  }

  // Files that a person chose: pictures, ZIPs, a kept model, a saved review, or boxes as COCO JSON.
  async take(chosen) {
    await this.on.ready();
    const files = await Promise.all(chosen.filter(each => endsWith(each.name, ['.json'])).map(readJson));
    const saved = files.find(each => each.review), foreign = files.find(each => !each.review && !each.images);
    if (saved) return this.on.review(saved.review);
    if (foreign) return this.on.say(this.texts.errors.no_json.replace('{name}', foreign.name));
    const models = [], annotations = [];
    for (const each of chosen.filter(({ name }) => endsWith(name, ['.zip']))) {
      if (await isKeptModel(each)) models.push(each);
      else files.push(...await this.boxesIn(each, annotations));
    }
    const isPicture = each => !models.includes(each) && !annotations.includes(each) && endsWith(each.name, [...this.limits.suffixes, '.zip']);
    const pictures = chosen.filter(isPicture);
    const refused = pictures.length || models.length || !files.length ? refusal(pictures, models, this.limits, this.texts.errors) : '';
    if (refused) return this.on.say(refused);
    if (!this.on.isBusy()) this.on.say('');
    if (models.length) await this.on.model(models.at(-1).file, pictures.length > 0);
    if (pictures.length) this.on.pictures(pictures);
    if (files.length) await this.on.boxes(files);
  }
}
