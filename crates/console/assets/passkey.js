// The one thing that needs a script: asking the browser for a passkey.
// The form holds the options; the answer goes into a hidden field of the same
// form, which is then sent like any other.
"use strict";
(function () {
  const toBytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (sign) => sign.charCodeAt(0));
  const toText = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer)))
      .replace(/\+/g, "-")
      .replace(/\//g, "_")
      .replace(/=+$/, "");
  const withBytes = (list) => (list || []).map((one) => ({ ...one, id: toBytes(one.id) }));

  // WebAuthn Level 3 reads and writes JSON itself; older browsers are helped.
  function readOptions(kind, json) {
    const native =
      window.PublicKeyCredential &&
      (kind === "get"
        ? PublicKeyCredential.parseRequestOptionsFromJSON
        : PublicKeyCredential.parseCreationOptionsFromJSON);
    if (native) return native.call(PublicKeyCredential, json);
    const options = { ...json, challenge: toBytes(json.challenge) };
    if (kind === "get") {
      options.allowCredentials = withBytes(json.allowCredentials);
    } else {
      options.user = { ...json.user, id: toBytes(json.user.id) };
      options.excludeCredentials = withBytes(json.excludeCredentials);
    }
    return options;
  }

  function writeCredential(credential) {
    if (typeof credential.toJSON === "function") {
      try {
        return JSON.stringify(credential.toJSON());
      } catch (_) {
        // Some password managers put a half-made object here: read it by hand.
      }
    }
    const from = credential.response;
    const response = { clientDataJSON: toText(from.clientDataJSON) };
    if (from.attestationObject) {
      response.attestationObject = toText(from.attestationObject);
      response.transports = from.getTransports ? from.getTransports() : [];
    } else {
      response.authenticatorData = toText(from.authenticatorData);
      response.signature = toText(from.signature);
      if (from.userHandle) response.userHandle = toText(from.userHandle);
    }
    return JSON.stringify({
      id: credential.id,
      rawId: toText(credential.rawId),
      type: credential.type,
      authenticatorAttachment: credential.authenticatorAttachment || undefined,
      clientExtensionResults: credential.getClientExtensionResults(),
      response,
    });
  }

  function explain(error, kind) {
    switch (error && error.name) {
      case "NotAllowedError":
        return kind === "get"
          ? "No passkey was used: you closed the question, time ran out, or this device has none for this page. Nothing was sent. You can try again."
          : "No passkey was made: you closed the question or time ran out. You can try again.";
      case "InvalidStateError":
        return "This device or key already holds a passkey for your account here. Use another one.";
      case "NotSupportedError":
      case "ConstraintError":
        return "This device cannot do what is needed: a passkey that asks for your fingerprint, face or PIN.";
      case "SecurityError":
        return "The browser refuses passkeys at this address. Open the page at the gate’s own name, over https or at localhost.";
      case "AbortError":
        return "The question was interrupted. You can try again.";
      default:
        return "The passkey could not be used" + (error && error.message ? " (" + error.message + ")" : "") + ". You can try again.";
    }
  }

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const kind = form.dataset.passkey;
    const live = form.querySelector("[data-live]");
    const button = form.querySelector("button[type=submit]");
    const label = Array.from(button.childNodes).find((node) => node.nodeType === 3 && node.data.trim());
    const words = label ? label.data : "";

    const wait = function (isWaiting) {
      button.toggleAttribute("data-busy", isWaiting);
      button.setAttribute("aria-disabled", isWaiting ? "true" : "false");
      if (label) label.data = isWaiting ? "Waiting for your passkey…" : words;
    };

    form.addEventListener("submit", async function (event) {
      event.preventDefault();
      if (button.hasAttribute("data-busy")) return;
      live.textContent = "";
      if (!window.PublicKeyCredential || !navigator.credentials) {
        live.textContent = "This browser does not know passkeys, or the page is not at a secure address. Use another way.";
        return;
      }
      wait(true);
      try {
        const publicKey = readOptions(kind, JSON.parse(form.dataset.options));
        const credential = await navigator.credentials[kind]({ publicKey });
        if (!credential) throw new DOMException("", "NotAllowedError");
        form.elements.credential.value = writeCredential(credential);
        form.dataset.sent = "yes";
        if (label) label.data = "One moment…";
        form.submit();
      } catch (error) {
        wait(false);
        live.textContent = explain(error, kind);
        button.focus();
      }
    });

    // Brought back by the browser's history: ready for another try.
    window.addEventListener("pageshow", function () {
      form.elements.credential.value = "";
      wait(false);
    });
  }
})();
