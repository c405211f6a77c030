// An approver device that wants to be woken: the page works without.
"use strict";
(function () {
  if (!("serviceWorker" in navigator)) return;
  const registered = navigator.serviceWorker.register("/approver/worker.js", { scope: "/approver" });
  registered.catch(() => {});

  const panel = document.querySelector("[data-web-push]");
  if (!panel || !("PushManager" in window) || !("Notification" in window)) return;
  const live = panel.querySelector("[data-live]");
  const text = panel.dataset.webPush;
  const key = Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (sign) => sign.charCodeAt(0));

  const isFor = function (subscription) {
    const other = subscription.options && subscription.options.applicationServerKey;
    if (!other) return false;
    const bytes = new Uint8Array(other);
    return bytes.length === key.length && bytes.every((byte, at) => byte === key[at]);
  };

  // Tells the gate where this device is woken; the gate knows whether that is new.
  async function subscribe() {
    const worker = await registered;
    await navigator.serviceWorker.ready;
    let subscription = await worker.pushManager.getSubscription();
    if (subscription && !isFor(subscription)) {
      await subscription.unsubscribe();
      subscription = null;
    }
    if (!subscription) {
      subscription = await worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
    }
    const answer = await fetch("/approver/subscription", {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ subscription: JSON.stringify(subscription) }),
    });
    if (!answer.ok) throw new Error("refused");
  }

  if (Notification.permission === "granted") {
    subscribe().catch(() => {
      panel.hidden = false;
    });
  } else if (Notification.permission === "default") {
    panel.hidden = false;
  }
  panel.querySelector("button").addEventListener("click", async function () {
    live.textContent = "";
    try {
      if ((await Notification.requestPermission()) !== "granted") throw new Error("denied");
      await subscribe();
      live.textContent = "You will be notified on this device.";
      panel.querySelector("button").hidden = true;
    } catch (_) {
      live.textContent = "That did not work here. Keep this page open instead: it looks by itself.";
    }
  });
})();
