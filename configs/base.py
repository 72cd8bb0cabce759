"""Every option once: its default, its unit and where it comes from. Other files change a few.

Command line: --config.sampler.steps=20 and so on, after --config=FILE if there is one.
"""

import ml_collections
from ml_collections import config_dict


def get_config() -> ml_collections.ConfigDict:
    """All options at their defaults."""
    config = ml_collections.ConfigDict()

    # Same seed, same frames; for training, same run.
    config.seed = 0
    # Height and width in pixels, e.g. (512,512); empty: what the checkpoint was made for.
    config.size = ()
    # Of activations and matrix products: float32, bfloat16 or float16.
    config.dtype = "float32"
    # auto, xla, chunked, merged, cudnn or splash; see emoji_jax/models/attention.py.
    config.attention = "auto"

    config.sampler = sampler = ml_collections.ConfigDict()
    # ddim (as released), dpmpp_2m or unipc (take half the steps), lcm (what distilled checkpoints
    # take, and no others); empty: the checkpoint's own.
    sampler.name = ""
    # Evaluations of the UNet (released code: 30); 0: the checkpoint's own.
    sampler.steps = 0
    # Classifier-free guidance (released code: 3.5); 1 switches it off and halves the work; unset:
    # the checkpoint's own.
    sampler.guidance_scale = config_dict.placeholder(float)
    # Timesteps, as parts of all, between which there is guidance; elsewhere the work is halved.
    sampler.guidance_interval = (0.0, 1.0)
    # Predict at some steps what most of the UNet would make: off, safe or fast.
    sampler.cache = "off"
    # Frames denoised together; 0: what the checkpoint was trained with (paper: 16).
    sampler.frames = 0
    # Videos longer than that: progressive (paper, 3.3) or overlap; empty: the first, if the
    # checkpoint was trained for it.
    sampler.long_video = ""
    # Frames that neighbouring windows share, if they overlap.
    sampler.overlap = 4
    # Windows denoised together; 0: one on each device.
    sampler.batch = 0
    # Frames decoded at a time on each device; more is faster and takes more memory.
    sampler.decode_batch = 4
    # Where a result differs from the moved portrait by less than this part of the range of levels,
    # it has the portrait's own pixels: 0.08 for small networks, 0 never; unset: the checkpoint's.
    sampler.keep = config_dict.placeholder(float)

    _add_motion(config)
    _add_framing(config)
    _add_model(config)
    _add_data(config)
    _add_training(config)
    return config


def _add_motion(config: ml_collections.ConfigDict) -> None:
    config.motion = motion = ml_collections.ConfigDict()
    # "release" repeats the released code to the pixel, its dropped frame and head pose included.
    motion.compat = ""
    # Of the head: relative (to the driver's first frame), absolute, or auto: relative, but absolute
    # for a single picture.
    motion.head_pose = "auto"
    # The driver's frame that counts as expressionless: its number from 0 (of those used), average
    # (the average face), or auto: the calmest, but the average face for a single picture.
    motion.neutral = "auto"
    # Frames in a row of a driving video that may be without a face; they are filled in.
    motion.max_gap = 15
    # Frames per second of a driver that does not say: a folder of frames or a .npy file.
    motion.frame_rate = 30.0
    # Which of several faces: largest, leftmost, or its number from the left, from 0.
    motion.face = "largest"
    # The part that is used, seconds from the driver's first frame; end unset: to its end.
    motion.start = 0.0
    motion.end = config_dict.placeholder(float)
    # How many frames of that; unset or 0: all of them.
    motion.frames = config_dict.placeholder(int)
    # 2 is twice as fast. The sound is left out where this or loop is not 1.
    motion.speed = 1.0
    # How many times it is played.
    motion.loop = 1
    # Frames per second of the result; unset: the driver's own times, frame by frame.
    motion.fps = config_dict.placeholder(float)
    # Cut-off frequency of a filter against jitter, Hz: the lower, the smoother; 0: none.
    motion.smooth = 0.0
    # pose: leave expression and gaze out; expression: leave the head's motion out.
    motion.only = ""

    # How much of each part of the motion: 0 nothing, 1 as driven, above 1 exaggerated. Expression
    # multiplies eyes, brows and mouth.
    config.controls = controls = ml_collections.ConfigDict()
    controls.expression = 1.0
    controls.eyes = 1.0
    controls.brows = 1.0
    controls.mouth = 1.0
    controls.gaze = 1.0
    controls.rotation = 1.0
    controls.translation = 1.0


def _add_framing(config: ml_collections.ConfigDict) -> None:
    config.framing = framing = ml_collections.ConfigDict()
    # Which of a portrait's faces: largest, leftmost, its number from the left, from 0, or all.
    framing.face = "largest"
    # crop: the face and what is around it; letterbox: the whole picture, as the released code does.
    framing.mode = "crop"
    # Height of the face as part of the crop's.
    framing.face_height = 0.5
    # Put the result back into the whole picture, at its own size.
    framing.paste = True
    # Part of the crop's sides over which it passes into the picture.
    framing.seam = 0.12


def _add_model(config: ml_collections.ConfigDict) -> None:
    config.model = model = ml_collections.ConfigDict()
    # tiny, release or paper; see emoji_jax/models/emoji.py.
    model.preset = "paper"
    # Whether there are motion modules; without them the frames of a clip are trained one by one.
    model.motion = True
    # Whether the UNet takes masked latents and a mask (paper, 3.3).
    model.progressive = True
    # How landmarks are drawn (paper, table 2; soft edges are for small pictures), and whether a
    # driver's are aligned in canonical space or drawn as they were detected.
    model.pupils = True
    model.contour = False
    model.antialiased = False
    # Whether the networks also see the portrait moved with its landmarks: not in the paper, for
    # networks that are trained for hours on a CPU.
    model.warped = False
    model.aligned = True

    # Folders with weights to start from, later ones win: a finished run, or what
    # `python -m emoji_jax.convert` wrote. What is in none of them is random.
    config.start = ()


def _add_data(config: ml_collections.ConfigDict) -> None:
    config.data = data = ml_collections.ConfigDict()
    # "synthetic", or folders that `python -m emoji_jax.prepare` or `.encode` wrote.
    data.sources = ("synthetic",)
    # How often each is drawn from; empty: equally often.
    data.weights = ()
    # Of the synthetic ones: clips, eight of each person, and frames in each.
    data.synthetic_clips = 80000
    data.synthetic_frames = 48
    # Processes per machine that make examples; 0: none.
    data.workers = 0

    config.example = example = ml_collections.ConfigDict()
    # Frames of an example lie up to so many apart.
    example.max_stride = 4
    # Least part of the side that augmentation keeps, and its largest change of brightness,
    # contrast and saturation; neither is used with encoded data.
    example.zoom = 0.85
    example.colour = 0.1
    # Radius of the expression mask's discs, as a fraction of the side (paper: not given).
    example.mask_radius = 0.02


def _add_training(config: ml_collections.ConfigDict) -> None:
    config.train = train = ml_collections.ConfigDict()
    # animation, autoencoder for the pictures' latents alone, or distillation.
    train.task = "animation"
    # Updates (paper: 30000 in stage 1, 10000 in stage 2).
    train.steps = 30000
    # Clips per update, on all devices together (paper: 32).
    train.batch_size = 32
    # Frames of each clip (paper: 1 in stage 1, 16 in stage 2).
    train.frames = 1
    # Patterns of the names of what is trained; everything else stays as it is.
    train.trainable = ("unet.*", "appearance.*", "landmark_encoder.*", "image_prompt.*")
    # Parts that a batch is computed in, to need less memory.
    train.accumulate = 1
    # Recompute activations in the backward pass instead of keeping them.
    train.remat = False

    # AdamW as the family of methods uses it (the paper gives none of this).
    config.optimiser = optimiser = ml_collections.ConfigDict()
    optimiser.learning_rate = 1e-5
    # Steps over which the learning rate rises.
    optimiser.warmup = 0
    # constant, or cosine: to zero at the last step.
    optimiser.decay = "constant"
    optimiser.betas = (0.9, 0.999)
    optimiser.epsilon = 1e-8
    optimiser.weight_decay = 1e-2
    # Longest gradient.
    optimiser.clip = 1.0
    # Decay of a running average of the parameters, which is then what is used; 0: none.
    optimiser.average = 0.0

    config.animation = animation = ml_collections.ConfigDict()
    # Weight of the facial fine-grained loss (eq. 2: one), and which masks it has (table 2).
    animation.ffg = 1.0
    animation.expression_mask = True
    animation.face_mask = True
    # Gamma of min-SNR weighting (family of methods: 5); 0: none.
    animation.min_snr = 0.0
    # Standard deviation of noise that is the same all over a frame (family of methods).
    animation.noise_offset = 0.05
    # Samples that see no portrait, as a fraction, for guidance (family of methods).
    animation.drop = 0.1
    # Frames that are given, in stage 1 (paper: not given); in stage 2, clips of which the first and
    # last frame are given, and frames that are given in the other clips (3.3).
    animation.known = 0.5
    animation.ends_known = 0.5
    animation.each_known = 0.5

    config.distillation = distillation = ml_collections.ConfigDict()
    # Steps that the student's checkpoint samples with (arXiv 2310.04378: 1 to 8).
    distillation.steps = 4
    # Steps of the teacher's solver from noise to clean latents, a multiple of those (the same: 50).
    distillation.intervals = 40
    # Of the teacher, and built into the student (released code: 3.5).
    distillation.guidance_scale = 3.5
    # Width of the pseudo-Huber distance, of latents; 0: squares (diffusers' LCM: 0.001).
    distillation.huber = 1e-3
    # Who says where the teacher's step leads: average (the student's, as the method has it) or
    # student (itself).
    distillation.target = "average"

    config.autoencoder = autoencoder = ml_collections.ConfigDict()
    # Weight of the latents' divergence from a normal distribution.
    autoencoder.kl = 1e-6
    # How much more an error near the drawn landmarks counts.
    autoencoder.expression = 4.0
    # Of the Laplacian pyramid.
    autoencoder.levels = 3
    # Weight of ST-LPIPS, the distance by features of a network.
    autoencoder.perceptual = 0.0

    config.mesh = mesh = ml_collections.ConfigDict()
    # Devices that divide the parameters between them; the batch is divided by all devices.
    mesh.fsdp = 1
    # Seconds that a step on several devices, its compilation or a validation may take
    # before it is taken to hang: stacks are printed and the process ends. 0: for ever.
    mesh.patience = 3600.0

    config.checkpoint = checkpoint = ml_collections.ConfigDict()
    # Steps; the last one is always saved.
    checkpoint.every = 1000
    # Newest ones that are kept, besides the one with the lowest validation loss.
    checkpoint.keep = 2

    config.log = log = ml_collections.ConfigDict()
    # Steps between lines of metrics.jsonl.
    log.every = 50
    # Steps between measurements on the validation split, and batches of each; 0: none.
    log.validate = 1000
    log.validation_batches = 8
    # Steps of which a profile is written to profile/, after the first three; 0: none.
    log.profile = 0
    # Steps between sample grids, and clips and frames of each; 0: none.
    log.grids = 5000
    log.grid_clips = 4
    log.grid_frames = 4
