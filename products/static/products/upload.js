// Enhances the upload form: drop files anywhere on the page, check them before sending, show upload progress.
// Without this script the form submits as usual.

const MB = 1_000_000; // as the limit is set

/** @param {number} bytes */
const megabytes = (bytes) => Number((bytes / MB).toFixed(1));

/** Entries that a ZIP may have without further records. */
const MAX_FOLDER_FILES = 65_000;

const form = () => /** @type {HTMLFormElement | null} */ (document.getElementById("upload"));

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

function input() {
  return /** @type {HTMLInputElement} */ (form()?.elements.namedItem("file"));
}

function sizeOfFiles() {
  return [...input().files ?? []].reduce((total, file) => total + file.size, 0);
}

function checkFiles() {
  const { maxBytes, maxFiles } = form()?.dataset ?? {};
  const count = input().files?.length ?? 0;
  let problem = "";
  if (count > Number(maxFiles)) problem = `These are ${count} files. Choose at most ${maxFiles}.`;
  if (sizeOfFiles() > Number(maxBytes)) {
    const files = count === 1 ? "The file is" : "The files are";
    problem = `${files} ${megabytes(sizeOfFiles())} MB. The maximum is ${megabytes(Number(maxBytes))} MB.`;
  }
  showProblem(problem);
  input().setCustomValidity(problem);
}

/** @param {string} text */
function showProblem(text) {
  element("upload-problem").textContent = text;
  element("upload-problem").hidden = !text;
}

/**
 * @param {number} sent Bytes.
 * @param {number} total Bytes.
 */
function showProgress(sent, total) {
  element("sending").hidden = false;
  element("sent-text").textContent = sent < total
    ? `Uploading ${(sent / MB).toFixed(1)} of ${(total / MB).toFixed(1)} MB`
    : "Upload complete. Reading the file…";
  /** @type {HTMLProgressElement} */ (element("sent")).value = Math.round((100 * sent) / total);
}

/** @param {string} problem */
function stopWith(problem) {
  if (!form()) return;
  element("sending").hidden = true;
  showProblem(problem);
}

const folderInput = () => /** @type {HTMLInputElement | null} */ (document.getElementById("folder"));

function showFolderButton() {
  const button = document.getElementById("choose-folder");
  if (button) button.hidden = !("webkitdirectory" in HTMLInputElement.prototype);
}

/** @param {File} file Of a folder that was chosen. */
const isHidden = (file) => file.webkitRelativePath.split("/").slice(1).some((part) => part.startsWith("."));

/** Pack the folder that was chosen into a ZIP, which is uploaded in its place. */
async function useFolder() {
  const files = [...folderInput()?.files ?? []].filter((file) => !isHidden(file));
  const bytes = files.reduce((total, file) => total + file.size, 0);
  const maxBytes = Number(form()?.dataset.maxBytes);
  if (!files.length) return;
  if (files.length > MAX_FOLDER_FILES || bytes > maxBytes) {
    showProblem(`The folder has ${files.length} files of ${megabytes(bytes)} MB. The maximum is ${megabytes(maxBytes)} MB.`);
    return;
  }
  const [folder] = files[0].webkitRelativePath.split("/");
  showProblem("");
  // Loaded when it is needed, from the address that the page knows.
  const { zipOf } = /** @type {typeof import("./zip.js")} */ (await import(form()?.dataset.zip ?? ""));
  const zip = await zipOf(files.map((file) => ({ path: file.webkitRelativePath, file })));
  const chosen = new DataTransfer();
  chosen.items.add(new File([zip], `${folder}.zip`, { type: zip.type }));
  input().files = chosen.files;
  checkFiles();
  input().focus();
}

/** @param {DragEvent} event */
const hasFiles = (event) => Boolean(form() && event.dataTransfer?.types.includes("Files"));

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  form()?.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) form()?.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  form()?.classList.remove("dropping");
  input().files = event.dataTransfer?.files ?? null;
  checkFiles();
  input().focus();
});
/** Say on the button how many drafts it starts. */
function nameStartButton() {
  const button = /** @type {HTMLButtonElement | null} */ (document.getElementById("start-drafts"));
  const count = document.querySelectorAll("input[name=draft]:checked").length;
  if (!button) return;
  button.textContent = count ? `Start ${count} request${count === 1 ? "" : "s"}` : "Start selected";
  button.disabled = !count;
}

document.addEventListener("change", (event) => {
  nameStartButton();
  if (form() && event.target === input()) checkFiles();
  if (event.target === folderInput()) useFolder();
});
document.addEventListener("click", (event) => {
  if (/** @type {Element} */ (event.target).id === "choose-folder") folderInput()?.click();
});
document.addEventListener("htmx:afterSwap", () => { showFolderButton(); nameStartButton(); });
showFolderButton();
nameStartButton();

document.addEventListener("htmx:xhr:progress", (event) => {
  const { loaded, total, lengthComputable } = /** @type {CustomEvent} */ (event).detail;
  // htmx reports download progress too; a total below the size of the files is that of the response.
  if (form() && lengthComputable && sizeOfFiles() && total >= sizeOfFiles()) showProgress(loaded, total);
});
document.addEventListener("htmx:beforeRequest", () => { if (form()) showProblem(""); });
document.addEventListener("htmx:sendError", () => stopWith("The connection was lost during the upload. Try again."));
document.addEventListener("htmx:responseError", (event) => stopWith(/** @type {CustomEvent} */ (event).detail.problem)); // by page.js
