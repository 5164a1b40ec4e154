/// What a model is for.
enum AdvisedTask: String, CaseIterable, Encodable {
  case segmentation, classification, detection, generation, sequence
  case styleTransfer = "style-transfer"
}

/// A recorded result or a published finding that advice rests on. New results are added to ``all``.
struct Evidence: Encodable, Sendable {
  enum Origin: String, Encodable { case measured, published }

  let id: String
  let statement: String
  let source: String
  /// Machine, data and what it does not show.
  let conditions: String
  let origin: Origin
  /// Which questions it bears on.
  let tasks: Set<AdvisedTask>
  let batchSizes: ClosedRange<Int>

  private enum CodingKeys: String, CodingKey { case id, statement, source, conditions, origin }

  private init(
    _ id: String, _ statement: String, source: String, conditions: String, _ origin: Origin = .published,
    tasks: Set<AdvisedTask>, batchSizes: ClosedRange<Int> = 1...Int.max
  ) {
    (self.id, self.statement, self.source, self.conditions) = (id, statement, source, conditions)
    (self.origin, self.tasks, self.batchSizes) = (origin, tasks, batchSizes)
  }

  private static let images: Set<AdvisedTask> = [.segmentation, .classification, .detection]
  private static let machine =
    "2 cores of an AMD EPYC (family 26, AVX-512), a virtual machine with 24 GB, libtorch 2.13.0"

  static let all: [Evidence] = [
    Evidence(
      "isbi-2012",
      "U-Net on the ISBI 2012 stack with one crop per batch: best validation loss .2500 under batch, .1732 under group, "
        + ".1728 under switchable; accuracy there .9005, .9228, .9232, and .792 for a constant prediction.",
      source: "README.md, first table",
      conditions:
        "width 16, crops of 256, 5 epochs of 818 steps, Adam; \(machine). One seed and one stack: differences as "
        + "small as that between group and switchable mean nothing.",
      .measured, tasks: [.segmentation], batchSizes: 1...4),
    Evidence(
      "isbi-2012-grid",
      "U-Net on the ISBI 2012 stack over five seeds, mean IoU on test slices: with 1 image per batch none .741, batch .681, group .775, switchable "
        + ".767, switchable:instance+layer .772, instance .770, layer .754; with 4 none .722, batch .743, group .769, switchable .766, "
        + "switchable:instance+layer .770, instance .773, layer .740. No difference between group, switchable and instance could be shown.",
      source: "Documentation/Findings.md",
      conditions:
        "width 8, crops of 128, one learning rate, short trainings; half 95 % intervals of .01 to .05; \(machine). Plain group has one channel "
        + "per group in levels of up to 32 channels.",
      .measured, tasks: [.segmentation], batchSizes: 1...15),
    Evidence(
      "step-times",
      "A training step of the U-Net takes 451 ms under batch, 453 under group, 446 under instance, 457 under switchable, "
        + "462 under layer and 455 without norm: speed does not decide between them here. bfloat16: 275, 244, 261, 266, 265, 266.",
      source: "Benchmarks/results/2026-11-21-epyc-2-cores.md",
      conditions: "width 32, 2 images of 256×256, medians of 3 rounds; \(machine). Times only, no quality.",
      .measured, tasks: [.segmentation]),
    Evidence(
      "step-memory",
      "The live tensors of that step peak at 470 MiB under every norm (363 without), 317 MiB in bfloat16, and 295 MiB under "
        + "batch with --memory low, which takes 1.06 to 1.09 times as long.",
      source: "Benchmarks/results/2026-11-21-epyc-2-cores.md",
      conditions: "width 32, 2 images of 256×256; \(machine).",
      .measured, tasks: [.segmentation]),
    Evidence(
      "group-by-batch",
      "ResNet-50 on ImageNet, validation error in % for 32, 16, 8, 4 and 2 images per GPU: batch 23.6, 23.7, 24.8, 27.3, "
        + "34.7; group 24.1, 24.2, 24.0, 24.2, 24.1. At usual batch sizes group is ahead of the other variants (layer, instance).",
      source: "Wu & He 2018, Group Normalization",
      conditions: "classification with 8 GPUs, statistics per GPU; other tasks are an extrapolation.",
      tasks: images),
    Evidence(
      "switchable-by-batch",
      "ResNet-50 on ImageNet, top-1 accuracy in % for 32, 16, 8, 4 and 2 images per GPU: switchable 76.9, 76.7, 76.7, 75.9, "
        + "75.6; group 75.9, 75.8, 76.0, 75.8, 75.9; batch 76.4, 76.3, 75.2, 72.7, 65.3. With 1 image batch does not converge; "
        + "group 75.5, switchable without its batch branch 75.0.",
      source: "Luo et al. 2019, Switchable Normalization, with its published code",
      conditions: "classification with 8 GPUs, statistics per GPU; other tasks are an extrapolation.",
      tasks: images),
    Evidence(
      "group-detection",
      "Mask R-CNN with a ResNet-50-FPN on COCO, 2 images per GPU: box AP 38.6 and mask AP 34.5 with frozen batch "
        + "normalization, 40.3 and 35.7 with group.",
      source: "Wu & He 2018, the project's results in Detectron",
      conditions:
        "8 GPUs, schedule 2x; the group models have another box head, with which frozen batch normalization has 38.8 "
        + "and 34.4.",
      tasks: [.detection], batchSizes: 1...15),
    Evidence(
      "renormalization",
      "Batch normalization loses much of its effect on small or dependent batches, since training and evaluation see different "
        + "activations; batch renormalization (batch:renorm) does substantially better there.",
      source: "Ioffe 2017, Batch Renormalization",
      conditions: "classification of ImageNet with Inception-v3.",
      tasks: images, batchSizes: 1...15),
    Evidence(
      "ghost-batches",
      "With large batches, statistics over small parts of them (ghost batches, batch:ghost=SAMPLES) lower the gap between "
        + "training and generalization without more updates.",
      source: "Hoffer et al. 2017, Train longer, generalize better",
      conditions: "classification with large batches.", tasks: images, batchSizes: 128...Int.max),
    Evidence(
      "stylization",
      "Taking instance in the place of batch normalization, in training and in use alike, clearly improves the pictures of a fast "
        + "stylization network: the contrast of the content image no longer gets through.",
      source: "Ulyanov et al. 2016, Instance Normalization",
      conditions: "judged by looking at pictures.", tasks: [.styleTransfer, .generation]),
    Evidence(
      "layers-of-sequences",
      "Layer normalization computes the same in training and evaluation, for any batch size and at every time step by itself, "
        + "and shortens the training of recurrent networks.",
      source: "Ba et al. 2016, Layer Normalization",
      conditions: "recurrent networks.", tasks: [.sequence]),
    Evidence(
      "rms-of-sequences",
      "Dividing by the root of the mean square alone does about as well as layer normalization, with less work.",
      source: "Zhang & Sennrich 2019, Root Mean Square Layer Normalization",
      conditions: "translation and other sequence tasks.", tasks: [.sequence]),
    Evidence(
      "generator-batches",
      "Under batch normalization a generator's output for one input depends strongly on the others in the batch.",
      source: "Salimans et al. 2016, Improved Techniques for Training GANs",
      conditions: "stated there as the reason for a fixed reference batch.", tasks: [.generation]),
    Evidence(
      "diffusion-networks",
      "The U-Net of a widely used diffusion model has group normalization throughout.",
      source: "Ho et al. 2020, Denoising Diffusion Probabilistic Models",
      conditions: "a choice of that paper, not a comparison.", tasks: [.generation]),
  ]

  static func about(_ task: AdvisedTask, batchSize: Int) -> [Evidence] {
    all.filter { $0.tasks.contains(task) && $0.batchSizes.contains(batchSize) }
  }
}
