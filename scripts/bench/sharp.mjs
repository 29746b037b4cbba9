// Encodes pictures with sharp, whose folder is the first argument, and prints CPU milliseconds for each file.
//
//     node sharp.mjs NODE_MODULES OPTIONS SOURCES OUTPUTS
//
// OPTIONS are JSON: `jpeg` or `png` for the encoder, and `resize` if there is any.
import { createRequire } from "node:module";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";

const [modules, options, sources, outputs] = process.argv.slice(2);
const sharp = createRequire(`${modules}/`)("sharp");
const { jpeg, png, resize } = JSON.parse(options);
sharp.concurrency(1);
sharp.cache(false);

const make = (data) => {
  const picture = resize ? sharp(data).resize(resize) : sharp(data);
  return (jpeg ? picture.jpeg(jpeg) : picture.png(png)).toBuffer();
};
const names = readdirSync(sources).sort();
const files = names.map((name) => readFileSync(`${sources}/${name}`));
for (const data of files.slice(0, 3)) await make(data);
const before = process.cpuUsage();
const made = [];
for (const data of files) made.push(await make(data));
const { user, system } = process.cpuUsage(before);
mkdirSync(outputs, { recursive: true });
names.forEach((name, number) => writeFileSync(`${outputs}/${name}`, made[number]));
console.log((user + system) / 1000 / files.length);
