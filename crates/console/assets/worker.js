// Wakes the person up, and opens the page. It knows nothing: what is asked stands on the page alone.
"use strict";
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("push", function (event) {
  event.waitUntil(
    self.registration.showNotification("Approval needed", {
      body: "Stepgate at " + self.location.host + " asks for your approval.",
      tag: "stepgate-approval",
      renotify: true,
      requireInteraction: true,
      icon: "/approver/icon-192.png",
    }),
  );
});

self.addEventListener("notificationclick", function (event) {
  event.notification.close();
  event.waitUntil(
    (async function () {
      const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
      const page = pages.find((one) => new URL(one.url).pathname.startsWith("/approver"));
      if (!page) return self.clients.openWindow("/approver");
      await page.navigate("/approver").catch(() => {});
      return page.focus();
    })(),
  );
});
