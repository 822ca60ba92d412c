// Where the open review is kept: a journal at once, then the browser's database; other tabs hear of each change.

import { isNamedAlike } from './review.js';
import { Journal, open, webStorage } from './store.js';

const SHOWN = 'blood-cells-batch'; // which review a tab shows, so that a reload shows it again; empty for none

export class Keeping {
  // `current` gives the open review, or null. `on`: changed({batch, gone}) by another tab, refused() by the browser, and model()
  // gives the file of the model that names the cells of the open review, or null.
  constructor(current, on, {
    openStore = open, journal = new Journal(), channel = new BroadcastChannel('blood-cells'), tab = webStorage('sessionStorage'), disk = globalThis.navigator?.storage,
  } = {}) {
    Object.assign(this, { current, on, openStore, journal, channel, tab, disk });
    this.saving = Promise.resolve();
    channel.onmessage = event => on.changed(event.data);
  }

  // Which batch a reload of this tab shows; empty for none.
  remember(batch) {
    this.tab.setItem(SHOWN, batch);
  }

  keepSteps(batch, added, removed) {
    this.keepEntry({ batch, added, removed });
  }

  // Steps and the comment go into a journal at once, which needs no waiting, and from there into the store: a page that is closed
  // in the same instant loses nothing.
  keepEntry(made) {
    const entry = this.journal.add(made);
    const change = async store => { for (const each of this.journal.until(entry)) await store.change(each); };
    this.keepIn(entry.batch, change).then(isStored => isStored && this.journal.remove(...this.journal.until(entry)));
  }

  // Changes are stored one after another; where the browser refuses, one line offers the file. Other tabs hear which batch changed,
  // and of cells that are none any more.
  keep(batch, change, gone = []) {
    this.saving = this.saving.then(async () => {
      try {
        await change(await (this.store ??= this.openStore()));
        this.channel.postMessage({ batch, gone });
        return true;
      } catch {
        this.on.refused();
        return false;
      }
    });
    return this.saving;
  }

  // The first cells of a batch. The browser is asked not to clear the store where the disk becomes full; it may refuse.
  async keepFirst(batch, change) {
    const isStored = await this.keep(batch, change);
    if (isStored) this.disk?.persist?.().catch(() => {});
    return isStored;
  }

  // A change of a review that the store has. One that another tab removed is stored again, whole; one without a cell is not stored.
  keepIn(batch, change, gone = []) {
    return this.keep(batch, async store => {
      if (await store.has(batch)) await change(store);
      else {
        const review = this.current();
        if (review?.batch === batch && review.cells.length) await store.put(review, this.on.model());
      }
    }, gone);
  }

  // What this tab showed last: {review, file: of the model that names its cells}, or null. What closed tabs left is stored before.
  async restore() {
    const store = await (this.store ??= this.openStore());
    if (!store) this.on.refused();
    const refused = new Set(); // batches of which the journal goes on holding an entry, and those after it
    for (const entry of await this.journal.takeOver()) {
      if (refused.has(entry.batch)) continue;
      try {
        if (await store.has(entry.batch)) await store.change(entry);
        this.journal.remove(entry);
      } catch {
        refused.add(entry.batch);
        this.on.refused();
      }
    }
    const shown = this.tab.getItem(SHOWN);
    const kept = shown === '' ? null : await store?.find(shown).catch(() => null);
    const file = kept && await store.model(kept.batch).catch(() => null);
    return kept?.cells.length ? { review: this.journal.applied(kept), file } : null;
  }

  // What is stored of a batch, without its cells and fields, or null.
  async stored(batch) {
    const store = await (this.store ??= this.openStore());
    await this.saving;
    const head = await store?.head(batch).catch(() => null);
    return head ? this.journal.applied(head) : null;
  }

  // What is stored of a batch, with its cells and fields where another tab added some or a model names them by now, and the file of
  // this model, goes to `use` in the instant in which nothing is on its way into the store: what is done meanwhile must not be
  // overwritten by what was read before it. An open batch that another tab removed is stored again, whole.
  async read(batch, use) {
    let saving, head, cells, fields, file;
    do {
      saving = this.saving;
      await saving;
      const store = await this.store;
      head = await store?.head(batch);
      const isNew = head && (await store.cellCount(batch) > this.current()?.cells.length || !isNamedAlike(head, this.current()));
      cells = isNew ? await store.cells(batch) : [];
      file = isNew ? await store.model(batch) : null;
      fields = cells?.length ? await store.fields(batch) : {};
    } while (saving !== this.saving);
    if (head) use(this.journal.applied(head), cells, fields, file);
    else await this.keepIn(batch, async () => {});
  }
}
