import NormaNN
import NormaNormalization
import NormaTensor

/// A VGG-like classifier whose activations tell what is in an image and how it is painted.
///
/// Input [N, C, H, W] of images in 0…1 → logits [N, classes], or the activations of named stages: `relu2_1` is the output of the
/// first convolution of the second block after norm and ReLU. Blocks of 3×3 convolutions, each ended by max-pooling 2×2; then the
/// mean over positions and a linear layer.
///
/// Keys: `features.0.weight`, … as in torchvision's `vgg16` and `vgg19`, norms `norms.0`, …, one per convolution, and `head.weight`,
/// `head.bias`. ``loadFeatures(_:)`` takes torchvision's weights.
///
/// Simonyan & Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition", configurations D and E.
public final class FeatureNetwork: Module, Layer, LayerContainer {
  public enum Layout: String, Sendable, CaseIterable {
    /// Four blocks of two convolutions.
    case small
    /// Five blocks of 2, 2, 3, 3 and 3 convolutions.
    case vgg16
    /// Five blocks of 2, 2, 4, 4 and 4 convolutions.
    case vgg19

    var blocks: [Int] {
      switch self {
      case .small: [2, 2, 2, 2]
      case .vgg16: [2, 2, 3, 3, 3]
      case .vgg19: [2, 2, 4, 4, 4]
      }
    }
  }

  public struct Options: Sendable {
    public var layout: Layout
    public var inputChannels = 3
    /// 0 leaves the head out: features only.
    public var classes: Int
    /// Channels of the first block; every block doubles them, up to eight times as many.
    public var width: Int
    public var normalization: Normalization
    /// Whether ImageNet's mean and deviation of the three colours (of 0…1) are taken out of the image first, as torchvision's weights
    /// expect it.
    public var standardizes = true

    /// The layout's defaults: batch normalization, 16 channels and 10 classes for the small one; for VGG none, 64 and no head.
    public init(_ layout: Layout = .small) {
      self.layout = layout
      (classes, width) = layout == .small ? (10, 16) : (0, 64)
      normalization = layout == .small ? .batch : .none
    }

    func channels(block: Int) -> Int { width << min(block, 3) }

    /// The names of all activations, in order.
    public var stages: [String] {
      layout.blocks.enumerated().flatMap { block, count in (1...count).map { "relu\(block + 1)_\($0)" } }
    }

    /// The place of a stage among the convolutions.
    /// - Throws: ``NetworkError`` that lists the known names.
    func index(of stage: String) throws -> Int {
      guard let index = stages.firstIndex(of: stage) else {
        throw NetworkError("unknown stage '\(stage)'; the network has \(stages.joined(separator: ", "))")
      }
      return index
    }

    /// The shapes of the convolutions' weights and biases by their keys.
    public var featureShapes: [(key: String, shape: [Int])] {
      var shapes: [(key: String, shape: [Int])] = []
      var (index, inputs) = (0, inputChannels)
      for (block, count) in layout.blocks.enumerated() {
        let channels = channels(block: block)
        for _ in 0..<count {
          shapes.append(("features.\(index).weight", [channels, inputs, 3, 3]))
          shapes.append(("features.\(index).bias", [channels]))
          inputs = channels
          // Each is followed by its ReLU, and the last of a block by the pooling.
          index += 2
        }
        index += 1
      }
      return shapes
    }

    static let inputRange = 1...4096
    static let classRange = 0...100_000
    static let widthRange = 1...1024

    /// Checks the options without making the network.
    /// - Throws: ``NetworkError`` for an option that cannot be; ``NormalizationError`` for a norm that does not fit the channels.
    public func validate() throws {
      try NetworkError.check("input channels", inputChannels, in: Self.inputRange)
      try NetworkError.check("classes", classes, in: Self.classRange)
      try NetworkError.check("width", width, in: Self.widthRange)
      guard !standardizes || inputChannels == 3 else {
        throw NetworkError(
          "ImageNet's means and deviations are those of 3 colours, but the feature network has \(inputChannels) input channels; "
            + "turn the standardization off")
      }
      for block in layout.blocks.indices { try normalization.check(channels: channels(block: block)) }
    }
  }

  public let options: Options
  public let features: [any Layer]
  public private(set) var norms: [any Layer]
  public let pool: GlobalAveragePool
  public let head: Linear?

  /// - Parameters:
  ///   - generator: draws the weights, on the CPU.
  ///   - dropoutGenerator: unused; the network has no dropout.
  /// - Throws: as ``Options/validate()``.
  public init(
    _ options: Options = Options(), generator: Generator? = nil, dropoutGenerator: Generator? = nil
  ) throws {
    try options.validate()
    self.options = options
    var inputs = options.inputChannels
    var layers: [any Layer] = []
    var norms: [any Layer] = []
    for (block, count) in options.layout.blocks.enumerated() {
      let channels = options.channels(block: block)
      for _ in 0..<count {
        layers.append(
          try Convolution(
            inputChannels: inputs, outputChannels: channels, kernel: [3, 3], padding: .same, generator: generator))
        layers.append(ActivationLayer(.relu))
        if let norm = try options.normalization.layer(channels: channels) { norms.append(norm) }
        inputs = channels
      }
      layers.append(MaxPool(kernel: [2, 2]))
    }
    features = layers
    self.norms = norms
    pool = GlobalAveragePool()
    head = options.classes > 0 ? try Linear(inputs: inputs, outputs: options.classes, generator: generator) : nil
  }

  /// - Throws: ``NetworkError`` for an image of another shape or smaller than 2^blocks, and for a network without a head.
  public func forward(_ input: Tensor) throws -> Tensor {
    guard let head else {
      throw NetworkError("the feature network has no head to classify with; give its options a number of classes")
    }
    let least = 1 << options.layout.blocks.count
    let x = try FeatureStages(layers: features, norms: norms)(standardized(input, least: least))
    return try head(pool(x))
  }

  /// The activations of the given stages, in their order. Nothing is computed beyond the deepest.
  /// - Throws: ``NetworkError`` for an unknown stage or an image of another shape or too small.
  public func activations(of input: Tensor, stages: [String]) throws -> [Tensor] {
    let indices = try stages.map { try options.index(of: $0) }
    guard let last = indices.max() else { return [] }
    var found: [Int: Tensor] = [:]
    let block = Int(options.stages[last].dropFirst(4).prefix { $0 != "_" }) ?? 1
    _ = try FeatureStages(layers: features, norms: norms)(standardized(input, least: 1 << (block - 1))) { index, x in
      if indices.contains(index) { found[index] = x }
      return index < last
    }
    return indices.compactMap { found[$0] }
  }

  /// ``activations(of:stages:)`` in evaluation mode, whatever mode a network that this one is part of has been put into.
  func fixedActivations(of input: Tensor, stages: [String]) throws -> [Tensor] {
    if isTraining { evaluate() }
    return try activations(of: input, stages: stages)
  }

  /// - Parameter least: the smallest extent that leaves something after the poolings.
  private func standardized(_ input: Tensor, least: Int) throws -> Tensor {
    let shape = input.shape
    guard shape.count == 4, shape[1] == options.inputChannels, shape[2] >= least, shape[3] >= least else {
      throw NetworkError(
        "the feature network expected [N, \(options.inputChannels), H, W] with H and W of at least \(least), got \(shape)"
      )
    }
    guard options.standardizes else { return input }
    func perChannel(_ values: [Float]) throws -> Tensor {
      try Tensor(values, shape: [1, 3, 1, 1]).to(dtype: input.dtype).to(device: input.device)
    }
    return try (input - perChannel([0.485, 0.456, 0.406])) / perChannel([0.229, 0.224, 0.225])
  }

  /// Copies the convolutions out of a state such as torchvision's of `vgg16` or `vgg19`; what is not under `features.` is left
  /// alone, in the state and here. torchvision's variants with batch normalization have other keys and are refused.
  /// - Throws: `StateError` naming all convolutions that are missing, unexpected or of another shape; then nothing was copied.
  public func loadFeatures(_ state: [String: Tensor]) throws {
    let isFeature = { (key: String) in key.hasPrefix("features.") }
    let own = stateDictionary().filter { !isFeature($0.key) }.map { ($0.key, $0.value) }
    try load(stateDictionary: state.filter { isFeature($0.key) }.merging(own) { $1 })
  }

  public func replaceLayers(_ body: (any Layer) throws -> any Layer) rethrows { norms = try norms.map(body) }
}

extension FeatureNetwork.Options {
  /// The options by the names that weight files carry in their metadata.
  public var metadata: [String: String] {
    [
      "architecture": "style-features", "layout": layout.rawValue, "input_channels": "\(inputChannels)",
      "classes": "\(classes)", "width": "\(width)", "norm": normalization.name, "standardizes": "\(standardizes)",
    ]
  }

  /// Reads ``metadata``. Names that are missing leave the layout's defaults.
  /// - Throws: ``NetworkError`` for another architecture or a value that cannot be; `NormalizationError` for a normalization that
  ///   does not exist.
  public init(metadata: [String: String]) throws {
    let values = try NetworkMetadata(metadata, of: "style-features")
    self.init(try values.choice("layout", .small))
    inputChannels = try values.count("input_channels", in: Self.inputRange, inputChannels)
    classes = try values.count("classes", in: Self.classRange, classes)
    width = try values.count("width", in: Self.widthRange, width)
    if let name = values["norm"] { normalization = try Normalization(parsing: name) }
    standardizes = try values.value("standardizes", "true or false", standardizes)
  }
}

extension NetworkError {
  /// - Throws: the error that names the option of a style network, its range and the value that is not in it.
  static func check(_ option: String, _ value: Int, in range: ClosedRange<Int>) throws {
    guard range.contains(value) else {
      throw NetworkError("\(option) should be a whole number in \(range.lowerBound)…\(range.upperBound), got \(value)")
    }
  }
}
