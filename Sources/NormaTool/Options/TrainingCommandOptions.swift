import ArgumentParser
import NormaData
import NormaDistributed
import NormaTensor
import NormaTraining

/// How to train.
struct TrainingCommandOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Passes over the samples. (default: \(ModelName.defaultsTold { "\($0.defaults.epochs)" }))", valueName: "count"))
  var epochs: Int?

  @Option(
    help: ArgumentHelp(
      "Samples per epoch: random crops of unet (default: 818), images of the others (default: all).", valueName: "count"
    ))
  var samplesPerEpoch: Int?

  @Option(
    help: ArgumentHelp(
      "Samples that go through the network together, of every worker. (default: \(ModelName.defaultsTold { "\($0.defaults.batchSize)" }))",
      valueName: "count"))
  var batchSize: Int?

  @Option(
    help: ArgumentHelp(
      "Batches per step, one after the other; the step takes the mean gradient of their samples.", valueName: "count"))
  var accumulate = 1

  @Option(
    help: ArgumentHelp(
      "Side of the square crops, a multiple of 2^depth with padding. (default: 512, or the next smaller that the network takes)",
      valueName: "pixels"))
  var crop: Int?

  @Option(
    help: ArgumentHelp(
      "Consecutive slices of a sample where --dimensions is 3: what the network takes along every axis. (default: 16, or the next that it takes)",
      valueName: "count"))
  var cropSlices: Int?

  @Option(help: "Decides weights, order, crops, augmentation and dropout.")
  var seed: UInt64 = 0

  @Option(
    help: ArgumentHelp(
      "How samples are varied. unet: none, flips (the eight symmetries of the square; default) or full (also shift, zoom, shear, "
        + "rotation, elastic deformation and grey values). Others: none (default), shift or, for alexnet and style, flips (left to right) or "
        + "full (both).", valueName: "kind"))
  var augment: AugmentationName?

  @Option(help: ArgumentHelp("cross-entropy, dice or cross-entropy+dice. (default: cross-entropy)", valueName: "kind"))
  var loss: SegmentationLoss.Kind?

  @Option(
    help: ArgumentHelp(
      "One weight per class in ascending order of label values, balanced or equal. (default: equal)", valueName: "list"),
    transform: ClassWeights.init(parsing:))
  var classWeights: ClassWeights?

  @Flag(
    inversion: .prefixedNo, exclusivity: .chooseLast,
    help: "Weigh pixels between close cells more, and the classes equally, by the U-Net paper's weight map.")
  var borderWeights: Bool?

  @Option(
    help: ArgumentHelp(
      "Factor of the style's part in the loss of style. (default: \(StyleWeights.style), adaptive \(StyleWeights.adaptive))",
      valueName: "factor"))
  var styleWeight: Double?

  @Option(help: ArgumentHelp("Factor of the content's part. (default: 1)", valueName: "factor"))
  var contentWeight: Double?

  @Option(help: ArgumentHelp("adam, adamw, sgd, nesterov, rmsprop or adagrad. (default: adam)", valueName: "name"))
  var optimizer: OptimizerKind?

  @Option(
    help: ArgumentHelp(
      "Default: 0.001 for adam, adamw and rmsprop, 0.01 for the others.", valueName: "rate"))
  var learningRate: Double?

  @Option(help: ArgumentHelp("Of sgd and nesterov (default 0.9) and rmsprop (0).", valueName: "share"))
  var momentum: Double?

  @Option(help: ArgumentHelp("L2 penalty; decoupled for adamw.", valueName: "factor"))
  var weightDecay = 0.0

  @Option(
    help: ArgumentHelp(
      "\(Schedule.knownNames.joined(separator: ", ")). (default: constant)", valueName: "name"),
    transform: Schedule.init(parsing:))
  var schedule = Schedule.constant

  @Option(
    help: ArgumentHelp(
      "End when the validation loss has not become lower in so many epochs. (default: train all epochs)",
      valueName: "epochs"))
  var earlyStopping: Int?

  @Option(
    help: ArgumentHelp(
      "Validate and keep exponential moving averages of the weights, with this share of the old average, such as 0.999. "
        + "(default: the weights themselves)", valueName: "decay"))
  var ema: Double?

  @Option(
    help: ArgumentHelp("float32 or bfloat16 activations; parameters stay float32.", valueName: "type"))
  var dtype = ActivationType.float32

  @Option(
    help: ArgumentHelp(
      "standard, or low: compute activations again in the backward pass instead of keeping them.", valueName: "use"))
  var memory = MemoryUse.standard

  @Flag(
    inversion: .prefixedNo, exclusivity: .chooseLast,
    help: ArgumentHelp(
      "After every epoch, look into the network on one batch: drift of the norms' inputs, gradients, dead ReLUs, running "
        + "statistics, loss surface. Changes no result; norma doctor reads it."))
  var diagnose = false

  @Option(help: ArgumentHelp("cpu, cuda or cuda:N.", valueName: "name"))
  var device = "cpu"

  @Option(help: ArgumentHelp("Threads of one operator; default: as many as cores.", valueName: "count"))
  var threads: Int?

  @Option(
    help: ArgumentHelp(
      "caching (keeps large blocks of freed tensors for reuse: faster) or system.", valueName: "name"))
  var allocator = AllocatorName.caching

  enum AugmentationName: String, ExpressibleByArgument, CaseIterable {
    case none, flips, shift, full

    /// Of crops of a stack.
    func ofCrops() throws -> Augmentation {
      switch self {
      case .none: return .none
      case .flips: return .flips
      case .full: return .full
      case .shift: throw ValidationError("--augment shift is for whole images; crops lie anywhere as they are.")
      }
    }

    /// Of pictures, of which a mirror image is one too.
    func ofPictures(side: Int) -> ImageAugmentation {
      let shift = self == .shift || self == .full ? side / 8 : 0
      return ImageAugmentation(
        shift: shift, padding: shift > 0 ? .mirror : .zero, flips: self == .flips || self == .full)
    }

    /// Of whole images that must not be mirrored.
    /// - Parameter pixels: of the greatest shift.
    func ofWholeImages(shift pixels: Int, for model: ModelName) throws -> ImageAugmentation {
      switch self {
      case .none: return .none
      case .shift: return ImageAugmentation(shift: pixels)
      case .flips, .full:
        throw ValidationError(
          "--augment \(rawValue) mirrors images, which changes what those of --model \(model.rawValue) mean; choose none or shift."
        )
      }
    }
  }

  enum ActivationType: String, ExpressibleByArgument, CaseIterable {
    case float32, bfloat16
    var dtype: DType { self == .float32 ? .float32 : .bfloat16 }
  }

  enum MemoryUse: String, ExpressibleByArgument, CaseIterable {
    case standard, low
  }

  enum AllocatorName: String, ExpressibleByArgument, CaseIterable {
    case caching, system
    var choice: TensorMemory.Allocator { self == .caching ? .keepingFreedBlocks : .system }
  }

  enum ClassWeights: Equatable, CustomStringConvertible {
    case equal
    /// Inverse to the frequencies in the training slices, with mean 1.
    case balanced
    case list([Double])

    init(parsing text: String) throws {
      if text == "balanced" || text == "equal" {
        self = text == "equal" ? .equal : .balanced
        return
      }
      self = .list(
        try text.split(separator: ",").map {
          guard let value = Double($0), value >= 0, value.isFinite else {
            throw ValidationError("'\($0)' is not a weight; give numbers such as 1,3 or the word balanced")
          }
          return value
        })
    }

    var description: String {
      switch self {
      case .equal: "equal"
      case .balanced: "balanced"
      case .list(let weights): weights.map { "\($0)" }.joined(separator: ",")
      }
    }

    func weights(for dataset: SegmentationDataset) -> [Double]? {
      switch self {
      case .equal: return nil
      case .list(let weights): return weights
      case .balanced:
        let inverse = dataset.classFrequencies.map { 1 / max($0, 1e-6) }
        let mean = inverse.reduce(0, +) / Double(inverse.count)
        return inverse.map { $0 / mean }
      }
    }
  }

  func validate() throws {
    let counts = [
      ("--epochs", epochs ?? 1, 1_000_000), ("--samples-per-epoch", samplesPerEpoch ?? 1, 1_000_000_000),
      ("--batch-size", batchSize ?? 1, 65_536), ("--crop", crop ?? 1, 65_536), ("--crop-slices", cropSlices ?? 1, 4096),
      ("--threads", threads ?? 1, 4096), ("--accumulate", accumulate, 65_536),
    ]
    for (name, value, greatest) in counts where !(1...greatest).contains(value) {
      throw ValidationError("\(name) must be in 1…\(greatest), got \(value).")
    }
    if let learningRate, !(learningRate > 0 && learningRate.isFinite) {
      throw ValidationError("--learning-rate must be a number above 0, got \(learningRate).")
    }
    if let momentum, !(0..<1).contains(momentum) {
      throw ValidationError("--momentum must be at least 0 and below 1, got \(momentum).")
    }
    if momentum != nil, optimizerOrDefault.defaultMomentum == nil {
      throw ValidationError(
        "--momentum is for --optimizer sgd, nesterov and rmsprop; \(optimizerOrDefault.rawValue) has none.")
    }
    if borderWeights == true, classWeights == .balanced {
      throw ValidationError("--border-weights already balances the classes; leave out --class-weights balanced.")
    }
    if let earlyStopping, earlyStopping < 1 {
      throw ValidationError("--early-stopping must be at least 1, got \(earlyStopping).")
    }
    if let ema, !(0..<1).contains(ema) { throw ValidationError("--ema must be at least 0 and below 1, got \(ema).") }
    for (name, weight) in [("style", styleWeight), ("content", contentWeight)] {
      if let weight, !(weight >= 0 && weight.isFinite) {
        throw ValidationError("--\(name)-weight must be at least 0, got \(weight).")
      }
    }
    guard weightDecay >= 0, weightDecay.isFinite else {
      throw ValidationError("--weight-decay must be at least 0, got \(weightDecay).")
    }
  }

  /// Options that not all networks have, as far as they are given.
  var given: [String] {
    [
      ("crop", crop != nil), ("crop-slices", cropSlices != nil), ("augment", augment != nil), ("loss", loss != nil),
      ("class-weights", classWeights != nil),
      ("border-weights", borderWeights != nil), ("style-weight", styleWeight != nil),
      ("content-weight", contentWeight != nil),
    ].filter(\.1).map(\.0)
  }

  var optimizerOrDefault: OptimizerKind { optimizer ?? .adam }

  /// How whole images are drawn, by the options' names.
  var recordedOfImages: [String: String] {
    var all = ["augment": (augment ?? .none).rawValue]
    if let samplesPerEpoch { all["samples-per-epoch"] = "\(samplesPerEpoch)" }
    return all
  }

  func resolvedDevice() throws -> Device { try Self.device(named: device) }

  static func device(named device: String) throws -> Device {
    switch device {
    case "cpu": return .cpu
    // Every worker of a machine has its own.
    case "cuda": return try .cuda(ProcessGroup.current?.deviceIndex(of: Device.cudaCount()) ?? 0)
    default:
      if device.hasPrefix("cuda:"), let index = Int8(device.dropFirst(5)), index >= 0 {
        return try .cuda(Int(index))
      }
      throw ValidationError("unknown device '\(device)'; the known ones are cpu, cuda and cuda:N")
    }
  }

  func options(defaults: ModelName.Defaults) throws -> TrainingOptions {
    var options = TrainingOptions()
    options.epochs = epochs ?? defaults.epochs
    let optimizer = optimizerOrDefault
    options.optimizer = optimizer
    options.learningRate = learningRate ?? optimizer.defaultLearningRate
    options.momentum = momentum ?? optimizer.defaultMomentum
    options.weightDecay = weightDecay
    options.schedule = schedule
    options.dtype = dtype.dtype
    options.device = try resolvedDevice()
    options.recomputes = memory == .low
    options.earlyStopping = earlyStopping
    options.averageDecay = ema
    options.accumulatedBatches = accumulate
    return options
  }
}

extension OptimizerKind: ExpressibleByArgument {}
extension SegmentationLoss.Kind: ExpressibleByArgument {}
