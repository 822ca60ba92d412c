// Reviews in the browser's own database (IndexedDB), so that a reload, a crash or a lost server loses no decision. Every record
// carries its batch: no tab can put a step on the cells of another batch.

const NAME = 'blood-cells', VERSION = 3;

const KEYS = { reviews: 'batch', cells: ['batch', 'id'], fields: ['batch', 'id'], steps: ['batch', 'number', 'cell'], models: 'batch' };
const ALL = Object.keys(KEYS);

const SECONDS = 10; // that the browser may take to open the store

// The store, or null where the browser refuses one, or does not answer.
export async function open(indexedDB = globalThis.indexedDB) {
  try {
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = () => {
      const database = request.result;
      for (const [name, keyPath] of Object.entries(KEYS)) {
        if (!database.objectStoreNames.contains(name)) database.createObjectStore(name, { keyPath });
      }
    };
    const database = await Promise.race([settled(request), tooLate()]);
    database.onversionchange = () => database.close(); // a page of a newer version opens, which would have no store otherwise
    return new Store(database);
  } catch {
    return null;
  }
}

function tooLate() {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error('no answer')), 1000 * SECONDS);
  });
}

function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error('blocked'));
  });
}

function done(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error('aborted'));
  });
}

// Whether a step of another tab, on the same cell and with the same number, is the newer one: it stands, whichever comes last.
function isNewer(other, step) {
  return other?.time > step.time;
}

const ofBatch = batch => IDBKeyRange.bound([batch], [batch, []]);

// What a review says of itself, without cells, fields and steps.
function putHead(transaction, { cells, fields, steps, ...head }) {
  transaction.objectStore('reviews').put({ ...head, opened: Date.now() });
}

// `at` keeps the order of cells: those of one answer as they came, behind those that came before.
function putCells(transaction, batch, cells, since) {
  cells.forEach((cell, index) => transaction.objectStore('cells').put({ ...cell, batch, at: since + index / 1e4 }));
}

function putModel(transaction, batch, file) {
  if (file) transaction.objectStore('models').put({ batch, file });
  else transaction.objectStore('models').delete(batch);
}

function putFields(transaction, batch, fields) {
  for (const [id, field] of Object.entries(fields)) transaction.objectStore('fields').put({ ...field, batch, id });
}

// Cells from their records. In those of the version before, `place` was their order, and no cell was of a field.
export function inOrder(records) {
  const order = each => each.at ?? each.place;
  return records.sort((a, b) => order(a) - order(b)).map(({ batch: _, at, place, ...cell }) => ({ ...cell, place: at === undefined ? null : place }));
}

export class Store {
  constructor(database) {
    this.database = database;
  }

  // Cells that follow those before; `gone` are cells that go with their steps, and `review` says what is new of the whole. All of it
  // or nothing: a review without its cells would stand before those that have some.
  async addCells(batch, cells, gone = [], review = null) {
    const transaction = this.database.transaction(['reviews', 'cells', 'steps'], 'readwrite');
    if (review) putHead(transaction, review);
    const steps = transaction.objectStore('steps');
    for (const id of gone) transaction.objectStore('cells').delete([batch, id]);
    if (gone.length) {
      steps.openCursor(ofBatch(batch)).onsuccess = ({ target: { result: cursor } }) => {
        if (!cursor) return;
        if (gone.includes(cursor.value.cell)) cursor.delete();
        cursor.continue();
      };
    }
    putCells(transaction, batch, cells, Date.now());
    await done(transaction);
  }

  // A review whose cells have other answers, and the file of the model that gives them in place of the one that classified them; null
  // for none. All of it or nothing.
  async saveAnswers(review, file) {
    const { batch, cells } = review, transaction = this.database.transaction(['reviews', 'cells', 'models'], 'readwrite');
    putHead(transaction, review);
    putCells(transaction, batch, cells, 0);
    putModel(transaction, batch, file);
    await done(transaction);
  }

  async model(batch) {
    return (await settled(this.database.transaction('models').objectStore('models').get(batch)))?.file ?? null;
  }

  // Apart from the cells: where the browser has room for no more pictures of fields, it may have some for cells.
  async addFields(batch, fields = {}) {
    const transaction = this.database.transaction('fields', 'readwrite');
    putFields(transaction, batch, fields);
    await done(transaction);
  }

  async has(batch) {
    return Boolean(await settled(this.database.transaction('reviews').objectStore('reviews').count(batch)));
  }

  async cellCount(batch) {
    return settled(this.database.transaction('cells').objectStore('cells').count(ofBatch(batch)));
  }

  // Steps that were taken, steps that were taken back, and a comment, together or not at all.
  async change({ batch, added, removed, comment }) {
    const transaction = this.database.transaction(['reviews', 'steps'], 'readwrite');
    const reviews = transaction.objectStore('reviews'), steps = transaction.objectStore('steps');
    const unlessNewer = (step, act) => {
      steps.get([batch, step.number, step.cell]).onsuccess = ({ target: { result } }) => { if (!isNewer(result, step)) act(step); };
    };
    for (const step of added) unlessNewer(step, () => steps.put({ ...step, batch }));
    for (const step of removed) unlessNewer(step, () => steps.delete([batch, step.number, step.cell]));
    if (comment !== undefined) {
      const request = reviews.get(batch);
      request.onsuccess = () => { if (request.result) reviews.put({ ...request.result, comment }); };
    }
    await done(transaction);
  }

  async steps(batch) {
    const found = await settled(this.database.transaction('steps').objectStore('steps').getAll(ofBatch(batch)));
    return found.map(({ batch: _, ...step }) => step);
  }

  // A review without its cells and fields, or null.
  async head(batch) {
    const head = await settled(this.database.transaction('reviews').objectStore('reviews').get(batch));
    if (!head) return null;
    const { opened, ...review } = head;
    return { ...review, cells: [], fields: {}, steps: await this.steps(batch) };
  }

  // A whole review: the wanted one, otherwise the one that was opened last, or null. One without a cell, which an older version may
  // have left, is passed over.
  async find(wanted) {
    const heads = await settled(this.database.transaction('reviews').objectStore('reviews').getAll());
    const isWanted = each => each.batch === wanted;
    for (const { opened, ...head } of heads.sort((a, b) => isWanted(b) - isWanted(a) || b.opened - a.opened)) {
      const { batch } = head;
      if (await this.cellCount(batch)) return { ...head, cells: await this.cells(batch), fields: await this.fields(batch), steps: await this.steps(batch) };
    }
    return null;
  }

  async cells(batch) {
    const cells = await settled(this.database.transaction('cells').objectStore('cells').getAll(ofBatch(batch)));
    return inOrder(cells);
  }

  async fields(batch) {
    const found = await settled(this.database.transaction('fields').objectStore('fields').getAll(ofBatch(batch)));
    return Object.fromEntries(found.map(({ batch: _, id, ...field }) => [id, field]));
  }

  // A whole review, in place of whatever the store has of its batch, with the file of the model that names its cells, null for none:
  // all of it or nothing.
  async put(review, file = null) {
    const { batch, cells, fields = {}, steps } = review;
    const transaction = this.database.transaction(ALL, 'readwrite');
    for (const name of ['cells', 'fields', 'steps']) transaction.objectStore(name).delete(ofBatch(batch));
    putModel(transaction, batch, file);
    putHead(transaction, review);
    putCells(transaction, batch, cells, 0);
    putFields(transaction, batch, fields);
    for (const step of steps) transaction.objectStore('steps').put({ ...step, batch });
    await done(transaction);
  }

  async remove(batch) {
    const transaction = this.database.transaction(ALL, 'readwrite');
    for (const name of ['reviews', 'models']) transaction.objectStore(name).delete(batch);
    for (const name of ['cells', 'fields', 'steps']) transaction.objectStore(name).delete(ofBatch(batch));
    await done(transaction);
  }
}

// localStorage or sessionStorage by its name. Where the browser refuses it, or it is full, the values last as long as the page.
export function webStorage(name) {
  let storage = null;
  try { storage = globalThis[name]; } catch { /* refused */ }
  const own = new Map();
  return {
    keys: () => Object.keys(storage ?? {}),
    getItem: key => own.get(key) ?? storage?.getItem(key) ?? null,
    setItem(key, value) {
      own.delete(key);
      try { storage.setItem(key, value); } catch { own.set(key, value); }
    },
    removeItem(key) { own.delete(key); storage?.removeItem(key); },
  };
}

// What is on its way into the store, in localStorage, which is written before the key press is answered. Each tab has a key of
// its own; what a closed tab left is stored by the next page that opens.
const PREFIX = 'blood-cells-journal-';

export class Journal {
  // Where the browser has locks, an open page holds one with the name of its key: the journal of an open tab is left to it.
  constructor(storage = webStorage('localStorage'), key = `${PREFIX}${Date.now()}-${Math.random()}`, locks = globalThis.navigator?.locks) {
    Object.assign(this, { storage, key, locks, entries: [] });
    locks?.request(key, () => new Promise(() => {})).catch(() => {}); // until the page is closed
  }

  // The entry as the journal holds it: `id` tells a copy in another journal, `at` (milliseconds) which of two is the newer.
  add(entry) {
    const added = { ...entry, id: Math.random().toString(36).slice(2), at: Math.max(Date.now(), this.entries.at(-1)?.at ?? 0) };
    if (entry.comment !== undefined) this.entries = this.entries.filter(({ batch, comment }) => batch !== entry.batch || comment === undefined);
    this.entries.push(added);
    this.write();
    return added;
  }

  // An entry with those of its batch before it, which the store refused. It gets them in their order: an old one that is stored
  // last would stand.
  until(entry) {
    return this.entries.slice(0, this.entries.indexOf(entry) + 1).filter(({ batch }) => batch === entry.batch);
  }

  remove(...stored) {
    this.entries = this.entries.filter(each => !stored.includes(each));
    this.write();
  }

  write() {
    if (this.entries.length) this.storage.setItem(this.key, JSON.stringify(this.entries));
    else this.storage.removeItem(this.key);
  }

  // A review as the store has it, with what the store has not been given yet, or refused.
  applied(review) {
    const found = new Map(review.steps.map(step => [`${step.number} ${step.cell}`, step]));
    let said = review.comment;
    for (const { added, removed, comment } of this.entries.filter(({ batch }) => batch === review.batch)) {
      const key = step => `${step.number} ${step.cell}`, isOpen = step => !isNewer(found.get(key(step)), step);
      for (const step of added.filter(isOpen)) found.set(key(step), step);
      for (const step of removed.filter(isOpen)) found.delete(key(step));
      said = comment ?? said;
    }
    return { ...review, steps: [...found.values()], comment: said };
  }

  // The entries of closed tabs, in the order in which they were made. This journal holds them until they are stored: a page that
  // is closed before loses none. Without locks an open tab may hold one too, which a later page then finds twice.
  async takeOver() {
    const { held } = await this.locks?.query().catch(() => null) ?? { held: [] }, open = new Set(held.map(({ name }) => name));
    const keys = this.storage.keys().filter(key => key.startsWith(PREFIX) && key !== this.key && !open.has(key));
    const all = keys.flatMap(key => JSON.parse(this.storage.getItem(key) ?? '[]')), ids = new Map(all.map(each => [each.id ?? each, each]));
    const found = [...ids.values()].sort((a, b) => (a.at ?? 0) - (b.at ?? 0));
    this.entries = [...found, ...this.entries];
    this.write();
    for (const key of keys) this.storage.removeItem(key);
    return found;
  }
}
