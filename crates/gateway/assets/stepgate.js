// Lets fetch and XMLHttpRequest of an unchanged page go on after a challenge.
//
// A call that needs more proof is answered with 401 and the address of a
// challenge. This script shows that address, waits until the person has
// answered, and repeats the call, naming the challenge. It holds no secret and
// can do nothing that the page could not do itself.
(() => {
  "use strict";
  if (window.__stepgate) return;
  window.__stepgate = true;

  const WAIT_SECONDS = 60;
  const ROUNDS_MAX = 10;
  const plainFetch = window.fetch.bind(window);

  const isHere = (url) => new URL(url, document.baseURI).origin === location.origin;

  const challengeIn = async (response) => {
    const kind = response.headers.get("content-type") || "";
    if (response.status !== 401 || !kind.startsWith("application/problem+json")) return null;
    try {
      const problem = await response.clone().json();
      return problem.type === "urn:stepgate:problem:challenge" ? { ...problem.challenge, detail: problem.detail } : null;
    } catch {
      return null;
    }
  };

  const ask = (challenge) => {
    const opened = navigator.userActivation?.isActive
      ? window.open(challenge.url, "stepgate", "popup,width=480,height=720")
      : null;
    const dialog = document.createElement("dialog");
    dialog.setAttribute("aria-label", "Confirmation needed");
    dialog.style.cssText = "max-width:26rem;padding:1.25rem;border:1px solid;border-radius:14px;font:1rem/1.5 system-ui,sans-serif";
    const text = document.createElement("p");
    text.textContent = challenge.detail || "More proof is needed for this request.";
    const number = document.createElement("p");
    number.textContent = `Number: ${challenge.number}`;
    const link = document.createElement("a");
    link.href = challenge.url;
    link.target = "stepgate";
    link.textContent = opened ? "Open the confirmation again" : "Confirm in a new window";
    const cancel = document.createElement("button");
    cancel.type = "button";
    cancel.textContent = "Cancel";
    cancel.style.cssText = "display:block;margin-top:1rem";
    dialog.append(text, number, link, cancel);
    const cancelled = new Promise((resolve) => {
      cancel.addEventListener("click", () => dialog.close());
      dialog.addEventListener("close", () => resolve("cancelled"), { once: true });
    });
    document.body.append(dialog);
    dialog.showModal();
    return {
      cancelled,
      done() {
        dialog.remove();
        opened?.close();
      },
    };
  };

  const goOn = async (request, first) => {
    let response = first;
    let challenge = await challengeIn(response);
    if (!challenge) return response;
    const asking = ask(challenge);
    const stop = new AbortController();
    try {
      for (let round = 0; round < ROUNDS_MAX && challenge; round += 1) {
        const again = new Request(request.clone(), { signal: stop.signal });
        again.headers.set("Stepgate-Challenge", challenge.id);
        again.headers.set("Prefer", `wait=${WAIT_SECONDS}`);
        const outcome = await Promise.race([plainFetch(again), asking.cancelled]);
        if (outcome === "cancelled") {
          stop.abort();
          return first;
        }
        response = outcome;
        challenge = await challengeIn(response);
      }
      return response;
    } finally {
      asking.done();
    }
  };

  window.fetch = async (input, init) => {
    const request = new Request(input, init);
    if (!isHere(request.url)) return plainFetch(request);
    const kept = request.clone();
    const response = await plainFetch(request);
    return response.status === 401 ? goOn(kept, response) : response;
  };

  // XMLHttpRequest: the first answer is held back until the challenge is done.
  const open = XMLHttpRequest.prototype.open;
  const send = XMLHttpRequest.prototype.send;
  const setRequestHeader = XMLHttpRequest.prototype.setRequestHeader;
  const calls = new WeakMap();

  XMLHttpRequest.prototype.open = function (method, url, async = true, ...rest) {
    calls.set(this, { method, url: String(url), async, headers: [], rest });
    return open.call(this, method, url, async, ...rest);
  };
  XMLHttpRequest.prototype.setRequestHeader = function (name, value) {
    calls.get(this)?.headers.push([name, value]);
    return setRequestHeader.call(this, name, value);
  };
  XMLHttpRequest.prototype.send = function (body) {
    const call = calls.get(this);
    const streams = body instanceof ReadableStream;
    if (!call || !call.async || call.again || streams || !isHere(call.url)) return send.call(this, body);
    const hold = (event) => {
      if (this.readyState !== 4 || call.again) return;
      let problem = null;
      if (this.status === 401 && (this.getResponseHeader("content-type") || "").startsWith("application/problem+json")) {
        try {
          problem = this.responseType === "json" ? this.response : JSON.parse(this.responseText);
        } catch {
          problem = null;
        }
      }
      if (problem?.type !== "urn:stepgate:problem:challenge") return;
      event.stopImmediatePropagation();
      call.again = true;
      const challenge = { ...problem.challenge, detail: problem.detail };
      const asking = ask(challenge);
      const finish = () => asking.done();
      asking.cancelled.then(() => this.readyState === 4 || this.abort());
      this.addEventListener("loadend", finish, { once: true });
      const type = this.responseType;
      open.call(this, call.method, call.url, true, ...call.rest);
      this.responseType = type;
      for (const [name, value] of call.headers) setRequestHeader.call(this, name, value);
      setRequestHeader.call(this, "Stepgate-Challenge", challenge.id);
      setRequestHeader.call(this, "Prefer", "wait=120");
      send.call(this, body);
    };
    // Registered at send, yet before the page's own listeners where it can be.
    for (const name of ["readystatechange", "load", "loadend"]) this.addEventListener(name, hold, { capture: true });
    return send.call(this, body);
  };
})();
