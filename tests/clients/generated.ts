// Uses the types that openapi-typescript generates from the schema. Compiled by scripts/check-types, never run.
import type { components, paths } from "../../node_modules/.cache/api";

type Schemas = components["schemas"];
type Listed = paths["/api/requests/"]["get"]["responses"][200]["content"]["application/json"];

export function describe(batch: Schemas["Request"]): string {
  const { completed, total } = batch.images;
  const saved: number = batch.bytes.source - batch.bytes.output;
  const quality = batch.options.quality;
  const [run] = batch.runs;
  return `${batch.urls.page}: ${completed} of ${total} at ${quality}, ${saved} bytes saved in ${run.bytes.output}`;
}

export function failures(images: Schemas["Image"][]): string[] {
  return images.flatMap((image) => (image.error ? [`${image.url}: ${image.error.code}`] : []));
}

export function nextPage(list: Listed): string | null | undefined {
  return list.results.length ? list.next : null;
}

export function widths(image: Schemas["Image"]): number[] {
  return Object.values(image.renditions).map((rendition) => rendition.width);
}
