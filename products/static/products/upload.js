// The upload form: files dropped anywhere on the page, a limit seen before anything is sent, and how far the
// sending has come. Without it the form works as forms do.
"use strict";

(() => {
  const form = () => document.getElementById("upload");
  const input = () => form().elements.file;
  const MB = 1024 * 1024; // as the page has it

  function checkSize() {
    const file = input().files[0];
    const most = Number(form().dataset.maxBytes);
    const isTooLarge = file && file.size > most;
    const sizes = () => `The file has ${(file.size / MB).toFixed(1)} MB; at most ${(most / MB).toFixed(1)} MB are accepted.`;
    say(isTooLarge ? sizes() : "");
    input().setCustomValidity(isTooLarge ? sizes() : "");
  }

  function say(problem) {
    const place = document.getElementById("upload-problem");
    place.textContent = problem;
    place.hidden = !problem;
  }

  function showSending(sent, total) {
    document.getElementById("sending").hidden = total === null;
    if (total === null) return;
    const text = sent < total
      ? `Sending: ${(sent / MB).toFixed(1)} of ${(total / MB).toFixed(1)} MB`
      : "Sent. The file is being read …";
    document.getElementById("sent-text").textContent = text;
    document.getElementById("sent").value = Math.round((100 * sent) / total);
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
    const first = new DataTransfer(); // of several files the form takes one
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
    // The answer's progress is told as well; it is the smaller one.
    if (lengthComputable && file && total >= file.size) showSending(loaded, total);
  });
  document.addEventListener("htmx:beforeRequest", () => say(""));
  document.addEventListener("htmx:sendError", () => {
    showSending(0, null);
    say("The connection broke off while the file was being sent. Please try again.");
  });
  document.addEventListener("htmx:responseError", () => {
    showSending(0, null);
    say("Something went wrong on the server. Please try again.");
  });
})();
