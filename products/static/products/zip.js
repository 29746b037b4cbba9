// Packs files into a ZIP without compressing them: pictures are compressed already.

const ENCODER = new TextEncoder();
const UTF8_NAMES = 0x0800;
/** The checksums of all single bytes. */
const CHECKSUMS = Uint32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  return sum;
});

/**
 * A record of the ZIP format: numbers of 2 or 4 bytes.
 * @param {[size: 2 | 4, value: number][]} fields
 */
function record(fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((total, [size]) => total + size, 0)));
  let place = 0;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(place, value, true);
    else view.setUint32(place, value, true);
    place += size;
  }
  return view.buffer;
}

/** @param {File} file */
async function checksum(file) {
  let sum = 0xffffffff;
  const reader = file.stream().getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    for (const byte of read.value) sum = CHECKSUMS[(sum ^ byte) & 0xff] ^ (sum >>> 8);
  }
  return (sum ^ 0xffffffff) >>> 0;
}

/**
 * Return a ZIP of these files. Its parts are the files themselves, which stay on the disk.
 * @param {{path: string, file: File}[]} entries
 * @returns {Promise<Blob>}
 */
export async function zipOf(entries) {
  /** @type {BlobPart[]} */
  const parts = [];
  /** @type {BlobPart[]} */
  const directory = [];
  let offset = 0, directorySize = 0;
  for (const { path, file } of entries) {
    const name = ENCODER.encode(path);
    /** @type {[2 | 4, number][]} */
    const facts = [
      [2, 20], [2, UTF8_NAMES], [2, 0], [2, 0], [2, 0x21], [4, await checksum(file)],
      [4, file.size], [4, file.size], [2, name.length], [2, 0],
    ];
    parts.push(record([[4, 0x04034b50], ...facts]), name, file);
    directory.push(record([[4, 0x02014b50], [2, 20], ...facts, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]), name);
    offset += 30 + name.length + file.size;
    directorySize += 46 + name.length;
  }
  const end = record([
    [4, 0x06054b50], [2, 0], [2, 0], [2, entries.length], [2, entries.length], [4, directorySize], [4, offset], [2, 0],
  ]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
