// The views, in the order of the menu. To add one: a module with `render(root, context)`, a line here, and its
// texts. `face`: who has it in the menu. A view is fetched when it is opened first.
export const VIEWS = [
  { id: "now", face: "technician", load: () => import("./now.js") },
  { id: "charts", face: "technician", load: () => import("./charts.js") },
  { id: "alarms", face: "technician", load: () => import("./alarms.js") },
  { id: "instruments", face: "technician", load: () => import("./instruments.js") },
  { id: "calibrate", face: "technician", load: () => import("./calibrate.js") },
  { id: "visits", face: "technician", load: () => import("./visits.js") },
  { id: "scan", face: "technician", load: () => import("./scan.js") },
  { id: "doctor", face: "technician", load: () => import("./doctor.js") },
  { id: "capture", face: "technician", load: () => import("./capture.js") },
  { id: "sinks", face: "technician", load: () => import("./sinks.js") },
  { id: "gaps", face: "technician", load: () => import("./gaps.js") },
  { id: "log", face: "technician", load: () => import("./log.js") },
  { id: "sms", face: "technician", load: () => import("./sms.js") },
  { id: "clock", face: "technician", load: () => import("./clock.js") },
  { id: "public", face: "public", load: () => import("./public.js") },
  { id: "about", face: "technician", load: () => import("./about.js") },
  { id: "sign", face: "public", menu: false, load: () => import("./sign.js") },
];
