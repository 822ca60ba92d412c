// Reviews in the browser's own database (IndexedDB), so that a reload, a crash or a lost server loses no decision. Every record
// carries its batch: no tab can put a step on the cells of another batch.

const NAME = 'blood-cells', VERSION = 1;

// The store, or null where the browser refuses one.
export async function open(indexedDB = globalThis.indexedDB) {
  try {
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = () => {
      const database = request.result;
      database.createObjectStore('reviews', { keyPath: 'batch' });
      database.createObjectStore('cells', { keyPath: ['batch', 'id'] });
      database.createObjectStore('steps', { keyPath: ['batch', 'number', 'cell'] });
    };
    return new Store(await settled(request));
  } catch {
    return null;
  }
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

const ofBatch = batch => IDBKeyRange.bound([batch], [batch, []]);

export class Store {
  constructor(database) {
    this.database = database;
  }

  // What a review says of itself, without cells and steps.
  async saveHead({ cells, steps, ...head }) {
    const transaction = this.database.transaction('reviews', 'readwrite');
    transaction.objectStore('reviews').put({ ...head, opened: Date.now() });
    await done(transaction);
  }

  async addCells(batch, cells, from) {
    const transaction = this.database.transaction('cells', 'readwrite');
    cells.forEach((cell, index) => transaction.objectStore('cells').put({ ...cell, batch, place: from + index }));
    await done(transaction);
  }

  // Steps that were taken and steps that were taken back, together or not at all.
  async change({ batch, added, removed }) {
    const transaction = this.database.transaction('steps', 'readwrite');
    const steps = transaction.objectStore('steps');
    for (const step of added) steps.put({ ...step, batch });
    for (const step of removed) steps.delete([batch, step.number, step.cell]);
    await done(transaction);
  }

  async steps(batch) {
    const found = await settled(this.database.transaction('steps').objectStore('steps').getAll(ofBatch(batch)));
    return found.map(({ batch: _, ...step }) => step);
  }

  // The review that was opened last, whole, or null.
  async latest() {
    const heads = await settled(this.database.transaction('reviews').objectStore('reviews').getAll());
    const head = heads.sort((a, b) => b.opened - a.opened)[0];
    if (!head) return null;
    const { opened, ...review } = head;
    const cells = await settled(this.database.transaction('cells').objectStore('cells').getAll(ofBatch(head.batch)));
    cells.sort((a, b) => a.place - b.place);
    return { ...review, cells: cells.map(({ batch, place, ...cell }) => cell), steps: await this.steps(head.batch) };
  }

  // A whole review, as a file brings it.
  async put(review) {
    await this.saveHead(review);
    await this.addCells(review.batch, review.cells, 0);
    await this.change({ batch: review.batch, added: review.steps, removed: [] });
  }

  async remove(batch) {
    const transaction = this.database.transaction(['reviews', 'cells', 'steps'], 'readwrite');
    transaction.objectStore('reviews').delete(batch);
    transaction.objectStore('cells').delete(ofBatch(batch));
    transaction.objectStore('steps').delete(ofBatch(batch));
    await done(transaction);
  }
}

// What is on its way into the store, in localStorage, which is written before the key press is answered. Each tab has a key of
// its own; what a closed tab left is stored by the next page that opens.
const PREFIX = 'blood-cells-journal-';

export class Journal {
  constructor(storage = globalThis.localStorage, key = `${PREFIX}${Date.now()}-${Math.random()}`) {
    Object.assign(this, { storage, key, entries: [] });
  }

  add(entry) {
    this.entries.push(entry);
    this.write();
  }

  remove(entry) {
    this.entries = this.entries.filter(each => each !== entry);
    this.write();
  }

  write() {
    try {
      if (this.entries.length) this.storage.setItem(this.key, JSON.stringify(this.entries));
      else this.storage.removeItem(this.key);
    } catch { /* full or refused: the store has its turn in a moment, and says so where it fails */ }
  }

  // The entries of closed tabs; they leave the journal.
  static left(storage = globalThis.localStorage) {
    const keys = Object.keys(storage).filter(key => key.startsWith(PREFIX));
    const found = keys.flatMap(key => JSON.parse(storage.getItem(key) ?? '[]'));
    for (const key of keys) storage.removeItem(key);
    return found;
  }
}
