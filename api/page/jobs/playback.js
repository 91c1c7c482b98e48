// Several takes side by side: they play together from the same moment, and one of them is heard.
const CLOSE = 0.04; // seconds: no correction
const FAR = 0.3; // seconds: a jump instead of another speed
const CHECK = 150; // milliseconds

export class Playback {
  constructor(onChange) {
    this.onChange = onChange;
    this.videos = [];
    this.together = false;
    this.heard = null; // the video with sound
  }

  set(videos) {
    if (videos.length !== this.videos.length || videos.some((video) => !this.videos.includes(video))) this.stop();
    const added = videos.filter((video) => !this.videos.includes(video));
    this.videos = videos;
    if (!videos.includes(this.heard)) this.heard = videos[0] ?? null;
    for (const video of added) {
      video.addEventListener("play", () => this.started(video));
      video.addEventListener("pause", () => this.paused(video));
      video.addEventListener("volumechange", () => this.together && !video.muted && this.hear(video));
    }
  }

  // A take that is started alone stops the others.
  started(video) {
    if (this.together) return;
    for (const other of this.videos) if (other !== video) other.pause();
    this.hear(video);
  }

  paused(video) {
    if (this.together && !video.ended && !this.busy) this.stop();
    if (this.together && this.videos.every((each) => each.paused)) this.stop();
  }

  // One take has sound.
  hear(video) {
    this.heard = video;
    for (const other of this.videos) if (other.muted !== (other !== video)) other.muted = other !== video;
    this.onChange();
  }

  async toggle() {
    if (this.together) this.stop();
    else await this.start();
  }

  async start() {
    this.together = this.busy = true;
    const ended = this.heard.ended || this.videos.every((video) => video.ended);
    const time = ended ? 0 : this.heard.currentTime;
    this.hear(this.heard);
    await Promise.all(this.videos.map((video) => ready(video, time)));
    await Promise.allSettled(this.videos.map((video) => video.play()));
    this.busy = false;
    this.timer = setInterval(() => this.align(), CHECK);
    this.onChange();
  }

  stop() {
    if (!this.together) return;
    this.together = false;
    clearInterval(this.timer);
    for (const video of this.videos) {
      video.playbackRate = 1;
      video.pause();
    }
    this.onChange();
  }

  // The take with sound sets the time; the others catch up or wait.
  align() {
    for (const video of this.videos) {
      const behind = this.heard.currentTime - video.currentTime;
      if (video === this.heard || video.ended) continue;
      if (Math.abs(behind) > FAR) video.currentTime = this.heard.currentTime;
      video.playbackRate = Math.abs(behind) < CLOSE || Math.abs(behind) > FAR ? 1 : 1 + Math.max(-0.25, Math.min(0.25, behind * 2));
    }
  }
}

function ready(video, time) {
  video.preload = "auto";
  if (Math.abs(video.currentTime - time) > 0.01) video.currentTime = time;
  if (video.readyState >= 3 && !video.seeking) return null;
  return new Promise((resolve) => {
    const check = () => (video.readyState >= 3 && !video.seeking) || video.error ? resolve() : null;
    for (const event of ["canplay", "seeked", "error"]) video.addEventListener(event, check);
  });
}
