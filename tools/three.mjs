// Parts of three.js that the web page uses to show a take in 3D; `make page-three` bundles them.
export { AmbientLight, AnimationMixer, Box3, DirectionalLight, GridHelper, PerspectiveCamera, Scene, TextureLoader, Timer, Vector3, WebGLRenderer } from "three";
export { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
export { GLTFLoader } from "three/examples/jsm/loaders/GLTFLoader.js";
