import NormaNN
import NormaNormalization
import NormaTensor

/// AlexNet for classification, convolution → norm → ReLU in all five convolution stages.
///
/// Input [N, C, H, W] → logits [N, classes]. H and W may differ from ``Options/inputSize`` and from each other: at least 63,
/// or at least 8 for the network for small images.
///
/// Keys: convolutions and linear layers have torchvision's (`features.0.weight`, `features.3.weight`, …, `classifier.1.weight`,
/// …) under every norm, so torchvision's own weights load strictly without norms. The norms of the five stages are
/// `norms.0` … `norms.4`, those of the classifier `classifier_norms.0` and `.1`.
///
/// Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks"; torchvision's layout is that of
/// Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks".
public final class AlexNet: Module, Layer, LayerContainer {
  public enum Variant: String, Sendable, CaseIterable {
    /// 64, 192, 384, 256 and 256 channels.
    case torchvision
    /// The first paper's 96, 256, 384, 384 and 256 channels, the second, fourth and fifth convolution in two groups.
    case original
  }

  public struct Options: Sendable {
    public var inputChannels = 3
    public var classes = 1000
    /// The height and width that the network is meant for. Up to 64 the first convolution is 3×3 with stride 1, the second 3×3
    /// too, pooling 2×2 and the classifier sees 4×4 positions; above, these are 11×11 with stride 4, 5×5, 3×3 with stride 2 and
    /// 6×6 positions.
    public var inputSize = 224
    /// nil takes ``Variant/original`` with local response normalization, else ``Variant/torchvision``.
    public var variant: Variant?
    /// Multiplies all channels and the 4096 units of the classifier, rounded to multiples of 8.
    public var width = 1.0
    /// Probability of dropout before the first and the second linear layer.
    public var dropout = 0.5
    /// After every convolution. Local response normalization (`lrn`) instead follows the ReLU of the first two, as in the
    /// paper, and without options has the paper's constants here, those of `lrn:alexnet` (n = 5, k = 2, α = 1e-4 per channel);
    /// with an option, as `lrn:size=5`, the others are PyTorch's.
    public var normalization = Normalization.batch
    /// Whether the classifier's two hidden layers are normalized too. Off as in most that is called AlexNet with batch
    /// normalization; dropout and normalization are seldom used together.
    public var normalizesClassifier = false

    public init() {}

    var isSmall: Bool { inputSize <= 64 }
    var usesLocalResponse: Bool { normalization.kind == "lrn" }
    var layout: Variant { variant ?? (usesLocalResponse ? .original : .torchvision) }
    var channels: [Int] {
      (layout == .original ? [96, 256, 384, 384, 256] : [64, 192, 384, 256, 256]).map(scaled)
    }
    var groups: [Int] { layout == .original ? [1, 2, 1, 2, 2] : [1, 1, 1, 1, 1] }
    var hidden: Int { scaled(4096) }
    private func scaled(_ count: Int) -> Int { max(1, Int((Double(count) * width / 8).rounded())) * 8 }

    func norm(channels: Int) throws -> (any Layer)? {
      try (normalization.name == "lrn" ? Normalization(parsing: "lrn:alexnet") : normalization).layer(
        channels: channels)
    }

    /// Checks the options without making the network.
    /// - Throws: ``NetworkError`` for an option that cannot be; ``NormalizationError`` for a norm that does not fit the channels.
    public func validate() throws {
      guard inputChannels > 0, classes > 0, inputSize >= 8, (1.0 / 512...16).contains(width), (0..<1).contains(dropout)
      else {
        throw NetworkError(
          "AlexNet needs at least 1 input channel, 1 class, an input size of 8, a width in 1/512…16 and a dropout in 0..<1; "
            + "got \(inputChannels), \(classes), \(inputSize), \(width) and \(dropout)")
      }
      for count in channels { try normalization.check(channels: count) }
      guard normalizesClassifier, let norm = try norm(channels: hidden) else { return }
      do { _ = try norm(Tensor.zeros([2, hidden])) } catch {
        throw NetworkError("the norm '\(normalization.name)' cannot stand in the classifier: \(error)")
      }
    }
  }

  public let options: Options
  public let features: [any Layer]
  public private(set) var norms: [any Layer]
  public let pool: AdaptiveAveragePool
  public let classifier: [any Layer]
  public private(set) var classifierNorms: [any Layer]

  /// - Parameters:
  ///   - generator: draws the weights, on the CPU.
  ///   - dropoutGenerator: draws the dropout, on the device of the training; nil means `generator`.
  /// - Throws: as ``Options/validate()``.
  public init(
    _ options: Options = Options(), generator: Generator? = nil, dropoutGenerator: Generator? = nil
  ) throws {
    try options.validate()
    self.options = options
    let (channels, small) = (options.channels, options.isSmall)
    func convolution(_ stage: Int) throws -> Convolution {
      let kernel = stage == 0 && !small ? 11 : stage == 1 && !small ? 5 : 3
      return try Convolution(
        inputChannels: stage == 0 ? options.inputChannels : channels[stage - 1], outputChannels: channels[stage],
        kernel: [kernel, kernel], stride: stage == 0 && !small ? [4, 4] : nil,
        padding: .explicit(stage == 0 && !small ? [2, 2] : [kernel / 2, kernel / 2]), groups: options.groups[stage],
        generator: generator)
    }
    features = try channels.indices.flatMap { stage -> [any Layer] in
      let layers: [any Layer] = [try convolution(stage), ActivationLayer(.relu)]
      let pooling = small ? MaxPool(kernel: [2, 2]) : MaxPool(kernel: [3, 3], stride: [2, 2])
      return [0, 1, 4].contains(stage) ? layers + [pooling] : layers
    }
    norms = try (options.usesLocalResponse ? Array(channels.prefix(2)) : channels).compactMap(options.norm)
    let side = small ? 4 : 6
    pool = AdaptiveAveragePool(extents: [side, side])
    let hidden = options.hidden
    func dropout() throws -> Dropout {
      try Dropout(probability: options.dropout, generator: dropoutGenerator ?? generator)
    }
    func linear(_ inputs: Int, _ outputs: Int, _ initializer: Initializer = .heNormal) throws -> Linear {
      try Linear(inputs: inputs, outputs: outputs, initializer: initializer, generator: generator)
    }
    classifier = [
      try dropout(), try linear(channels[4] * side * side, hidden), ActivationLayer(.relu),
      try dropout(), try linear(hidden, hidden), ActivationLayer(.relu),
      // The paper's deviation (section 5): all classes are about as likely at first.
      try linear(hidden, options.classes, .normal(standardDeviation: 0.01)),
    ]
    classifierNorms = options.normalizesClassifier ? try [hidden, hidden].compactMap(options.norm) : []
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    let shape = input.shape
    let least = options.isSmall ? 8 : 63
    guard shape.count == 4, shape[1] == options.inputChannels, shape[2] >= least, shape[3] >= least else {
      throw NetworkError(
        "AlexNet expected [N, \(options.inputChannels), H, W] with H and W of at least \(least), got \(shape)")
    }
    let stages = FeatureStages(layers: features, norms: norms, normsFollowActivation: options.usesLocalResponse)
    var x = try pool(stages(input)).flattened(from: 1)
    var remaining = classifierNorms[...]
    for layer in classifier {
      if layer is ActivationLayer, let norm = remaining.popFirst() {
        x = try norm(x, then: .relu)
      } else {
        x = try layer(x)
      }
    }
    return x
  }

  public func replaceLayers(_ body: (any Layer) throws -> any Layer) rethrows {
    norms = try norms.map(body)
    classifierNorms = try classifierNorms.map(body)
  }
}

extension AlexNet.Options {
  /// The options by the names that weight files carry in their metadata.
  public var metadata: [String: String] {
    [
      "architecture": "alexnet", "input_channels": "\(inputChannels)", "classes": "\(classes)",
      "input_size": "\(inputSize)", "variant": layout.rawValue, "width": "\(width)", "dropout": "\(dropout)",
      "norm": normalization.name, "normalizes_classifier": "\(normalizesClassifier)",
    ]
  }

  /// Reads ``metadata``. Names that are missing leave the defaults.
  /// - Throws: ``NetworkError`` for another architecture or a value that cannot be; `NormalizationError` for a normalization that
  ///   does not exist.
  public init(metadata: [String: String]) throws {
    self.init()
    let values = try NetworkMetadata(metadata, of: "alexnet")
    inputChannels = try values.count("input_channels", in: 1...4096, inputChannels)
    classes = try values.count("classes", in: 1...100_000, classes)
    inputSize = try values.count("input_size", in: 8...65_536, inputSize)
    if values["variant"] != nil { variant = try values.choice("variant", AlexNet.Variant.torchvision) }
    width = try values.value("width", "a number in 1/512…16", width) { (1.0 / 512...16).contains($0) }
    dropout = try values.value("dropout", "at least 0 and below 1", dropout) { (0..<1).contains($0) }
    if let name = values["norm"] { normalization = try Normalization(parsing: name) }
    normalizesClassifier = try values.value("normalizes_classifier", "true or false", normalizesClassifier)
  }
}
