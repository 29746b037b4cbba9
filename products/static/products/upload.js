// Enhances the upload form: drop a file anywhere on the page, check its size before sending, show upload progress.
// Without this script the form submits as usual.
"use strict";

(() => {
  const form = () => document.getElementById("upload");
  const input = () => form().elements.file;
  const MB = 1024 * 1024; // as Django's filesizeformat counts

  function checkSize() {
    const file = input().files[0];
    const maxBytes = Number(form().dataset.maxBytes);
    const problem = file && file.size > maxBytes
      ? `The file is ${(file.size / MB).toFixed(1)} MB. The maximum is ${(maxBytes / MB).toFixed(1)} MB.`
      : "";
    showProblem(problem);
    input().setCustomValidity(problem);
  }

  function showProblem(text) {
    const element = document.getElementById("upload-problem");
    element.textContent = text;
    element.hidden = !text;
  }

  function showProgress(sent, total) {
    document.getElementById("sending").hidden = false;
    const text = sent < total
      ? `Uploading ${(sent / MB).toFixed(1)} of ${(total / MB).toFixed(1)} MB`
      : "Upload complete. Reading the file…";
    document.getElementById("sent-text").textContent = text;
    document.getElementById("sent").value = Math.round((100 * sent) / total);
  }

  function stopWith(problem) {
    document.getElementById("sending").hidden = true;
    showProblem(problem);
  }

  const hasFiles = (event) => form() && event.dataTransfer.types.includes("Files");

  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    form().classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (form() && !event.relatedTarget) form().classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    form().classList.remove("dropping");
    const first = new DataTransfer(); // the form takes a single file
    first.items.add(event.dataTransfer.files[0]);
    input().files = first.files;
    checkSize();
    input().focus();
  });
  document.addEventListener("change", (event) => {
    if (form() && event.target === input()) checkSize();
  });

  document.addEventListener("htmx:xhr:progress", (event) => {
    const { loaded, total, lengthComputable } = event.detail;
    const file = input().files[0];
    // htmx reports download progress too; a total below the file's size is that of the response.
    if (lengthComputable && file && total >= file.size) showProgress(loaded, total);
  });
  document.addEventListener("htmx:beforeRequest", () => showProblem(""));
  document.addEventListener("htmx:sendError", () => stopWith("The connection was lost during the upload. Try again."));
  document.addEventListener("htmx:responseError", () => stopWith("Something went wrong on the server. Try again."));
})();
