// What a ZIP holds: the boxes that annotation tools such as CVAT export so, or a model that the page gave away.

const END = 0x06054b50, LONGEST_END = 65557; // the record at the end of a ZIP, and the bytes in which it begins at the latest
const MOST_BYTES = 64e6; // of a JSON file; the boxes of 100,000 cells take 20 MB
const STORED = 0; // the method of an entry that is not packed

// {json: {name, file} of each JSON file, isJsonAlone: whether the ZIP has no other file}; nothing of what is no whole ZIP.
export async function unzip({ name, file }) {
  try {
    const files = (await entries(file)).filter(entry => !entry.name.endsWith('/')), json = files.filter(isJson);
    const unpacked = await Promise.all(json.map(async entry => ({ name: `${name}/${entry.name}`, file: await unpack(file, entry) })));
    return { json: unpacked, isJsonAlone: json.length > 0 && json.length === files.length };
  } catch { // the server says what is wrong with a ZIP
    return { json: [], isJsonAlone: false };
  }
}

// The names of all entries; none of what is no whole ZIP.
export async function names(file) {
  return entries(file).then(found => found.map(entry => entry.name), () => []);
}

function isJson({ name, unpacked }) {
  return /(^|\/)[^./][^/]*\.json$/i.test(name) && unpacked <= MOST_BYTES;
}

async function view(file, from, to) {
  return new DataView(await file.slice(from, to).arrayBuffer());
}

// The table of contents. Raises where there is none.
async function entries(file) {
  const from = Math.max(file.size - LONGEST_END, 0), tail = await view(file, from, file.size);
  let end = tail.byteLength - 22;
  while (tail.getUint32(end, true) !== END) end -= 1; // raises before the first byte
  const size = tail.getUint32(end + 12, true), start = tail.getUint32(end + 16, true);
  const table = await view(file, start, start + size), found = [];
  for (let at = 0; at + 46 <= table.byteLength;) {
    const [length, extra, comment] = [28, 30, 32].map(place => table.getUint16(at + place, true));
    const name = new TextDecoder().decode(new Uint8Array(table.buffer, at + 46, length));
    found.push({ name, method: table.getUint16(at + 10, true), packed: table.getUint32(at + 20, true), unpacked: table.getUint32(at + 24, true), offset: table.getUint32(at + 42, true) });
    at += 46 + length + extra + comment;
  }
  return found;
}

// Raises where the entry is damaged.
async function unpack(file, { method, packed, unpacked, offset }) {
  const head = await view(file, offset, offset + 30);
  const from = offset + 30 + head.getUint16(26, true) + head.getUint16(28, true), data = file.slice(from, from + packed);
  const found = method === STORED ? data : await new Response(data.stream().pipeThrough(new DecompressionStream('deflate-raw'))).blob();
  if (found.size !== unpacked) throw new Error('an entry is damaged'); // or of a method that no browser unpacks
  return found;
}
