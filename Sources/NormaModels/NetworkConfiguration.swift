import NormaNN
import NormaNormalization
import NormaTensor

/// What decides the shape of a network: a value that makes it, and that weight files tell in their metadata.
public protocol NetworkConfiguration: Sendable {
  /// The architecture's name, also in weight files.
  static var architecture: String { get }

  var normalization: Normalization { get set }

  /// The options by the names that weight files carry in their metadata.
  var metadata: [String: String] { get }

  /// Reads ``metadata``. Names that are missing leave the defaults.
  /// - Throws: ``NetworkError`` for another architecture or a value that cannot be; `NormalizationError` for a normalization that
  ///   does not exist.
  init(metadata: [String: String]) throws

  /// Checks the options without making the network.
  func validate() throws

  /// What an input measures: channels, then the spatial axes.
  var inputExtents: [InputExtent] { get }

  /// The largest tensors of the state and those that the others follow from, by key: a file has to hold them before a network is
  /// made as large as its metadata say.
  var largestShapes: [String: [Int]] { get }

  /// - Parameters:
  ///   - generator: draws the weights, on the CPU.
  ///   - dropoutGenerator: draws the dropout, on the device of the training; nil means `generator`.
  func network(generator: Generator?, dropoutGenerator: Generator?) throws -> any Layer
}

/// Those of a network that gives logits [N, classes].
public protocol ClassifierConfiguration: NetworkConfiguration {
  var classes: Int { get }
}

/// What an axis of a network's input may measure.
public enum InputExtent: Sendable, Equatable {
  case fixed(Int)
  /// A multiple of a number, and a number more.
  case any(multipleOf: Int, plus: Int = 0)
}

/// A network that says how it was made.
public protocol DescribedNetwork: Layer {
  associatedtype Options: NetworkConfiguration
  var options: Options { get }
}

extension NetworkConfiguration {
  /// The architectures that weight files may tell.
  public static var all: [any NetworkConfiguration.Type] {
    [
      UNet.Options.self, AlexNet.Options.self, MeanSpotter.Options.self, MNISTDense.Options.self,
      MNISTLSTM.Options.self, TransformationNetwork.Options.self,
    ]
  }
}

/// The options that a weight file's metadata tell.
/// - Throws: ``NetworkError`` for an architecture that is not known or a value that cannot be; `NormalizationError` for a
///   normalization that does not exist.
public func networkConfiguration(metadata: [String: String]) throws -> any NetworkConfiguration {
  let known = UNet.Options.all
  let name = metadata["architecture"] ?? ""
  guard let type = known.first(where: { $0.architecture == name }) else {
    throw NetworkError(
      "one of the architectures \(known.map { $0.architecture }.joined(separator: ", ")) was expected, got '\(name)'")
  }
  return try type.init(metadata: metadata)
}

extension UNet: DescribedNetwork {}
extension UNet.Options: NetworkConfiguration {
  public static let architecture = "unet"
  public var inputExtents: [InputExtent] {
    // The smallest extent is no multiple where convolutions are without padding.
    let shift = margin == 0 ? 0 : inputExtent(forOutput: 1)
    return [.fixed(inputChannels)]
      + Array(repeating: .any(multipleOf: extentMultiple, plus: shift), count: dimensions)
  }
  public var largestShapes: [String: [Int]] {
    let (deepest, kernel) = (width << depth, Array(repeating: 3, count: dimensions))
    return [
      "bottom.conv2.conv.weight": [deepest, deepest] + kernel,
      "encoder.0.conv1.conv.weight": [width, inputChannels] + kernel,
    ]
  }
  public func network(generator: Generator?, dropoutGenerator: Generator?) throws -> any Layer {
    try UNet(self, generator: generator, dropoutGenerator: dropoutGenerator)
  }
}

extension AlexNet: DescribedNetwork {}
extension AlexNet.Options: ClassifierConfiguration {
  public static let architecture = "alexnet"
  public var inputExtents: [InputExtent] { [inputChannels, inputSize, inputSize].map { .fixed($0) } }
  public var largestShapes: [String: [Int]] {
    let (positions, stem) = isSmall ? (16, 3) : (36, 11)
    return [
      "classifier.1.weight": [hidden, channels[4] * positions], "classifier.4.weight": [hidden, hidden],
      "classifier.6.weight": [classes, hidden], "features.0.weight": [channels[0], inputChannels, stem, stem],
    ]
  }
  public func network(generator: Generator?, dropoutGenerator: Generator?) throws -> any Layer {
    try AlexNet(self, generator: generator, dropoutGenerator: dropoutGenerator)
  }
}

extension MeanSpotter: DescribedNetwork {}
extension MeanSpotter.Options: NetworkConfiguration {
  public static let architecture = "mean-spot"
  public var inputExtents: [InputExtent] { [.fixed(3), .fixed(42), .fixed(42)] }
  public var largestShapes: [String: [Int]] { ["conv.weight": [8, 14, 5, 5]] }
  public func network(generator: Generator?, dropoutGenerator: Generator?) throws -> any Layer {
    try MeanSpotter(self, generator: generator, dropoutGenerator: dropoutGenerator)
  }
}

extension MNISTDense: DescribedNetwork {}
extension MNISTDense.Options: ClassifierConfiguration {
  public static let architecture = "mnist-dense"
  public var inputExtents: [InputExtent] { [inputChannels, height, width].map { .fixed($0) } }
  public var largestShapes: [String: [Int]] {
    let sizes = [inputChannels * height * width] + hidden
    var shapes = ["output.weight": [classes, sizes[hidden.count]]]
    for (layer, outputs) in hidden.enumerated() { shapes["hidden.\(layer).linear.weight"] = [outputs, sizes[layer]] }
    return shapes
  }
  public func network(generator: Generator?, dropoutGenerator: Generator?) throws -> any Layer {
    try MNISTDense(self, generator: generator, dropoutGenerator: dropoutGenerator)
  }
}

extension MNISTLSTM: DescribedNetwork {}
extension MNISTLSTM.Options: ClassifierConfiguration {
  public static let architecture = "mnist-lstm"
  // A record of a recurrent network has a fixed number of steps.
  public var inputExtents: [InputExtent] { [1, height, width].map { .fixed($0) } }
  public var largestShapes: [String: [Int]] {
    var shapes = ["output.weight": [classes, hidden]]
    for layer in 0..<layers {
      shapes["lstm.weight_ih_l\(layer)"] = [4 * hidden, layer == 0 ? width : hidden]
      shapes["lstm.weight_hh_l\(layer)"] = [4 * hidden, hidden]
    }
    return shapes
  }
  public func network(generator: Generator?, dropoutGenerator: Generator?) throws -> any Layer {
    try MNISTLSTM(self, generator: generator, dropoutGenerator: dropoutGenerator)
  }
}

extension TransformationNetwork: DescribedNetwork {}
extension TransformationNetwork.Options: NetworkConfiguration {
  public static let architecture = "style"
  // Multiples of both strides together, 4, give outputs as large as the input; the least of at least 5 pixels is 8.
  public var inputExtents: [InputExtent] {
    [.fixed(channels), .any(multipleOf: 8), .any(multipleOf: 8)]
  }
  public var largestShapes: [String: [Int]] {
    var shapes = [
      "encoder.2.conv.weight": [4 * width, 2 * width, 3, 3], "output.conv.weight": [channels, width, 9, 9],
    ]
    for block in 0..<blocks {
      for conv in ["conv1", "conv2"] {
        shapes["blocks.\(block).\(conv).conv.weight"] = [4 * width, 4 * width, 3, 3]
        if styles > 1 { shapes["blocks.\(block).\(conv).norm.scales"] = [styles, 4 * width] }
      }
    }
    if styles > 1 { shapes["encoder.2.norm.scales"] = [styles, 4 * width] }
    return shapes
  }
  public func network(generator: Generator?, dropoutGenerator: Generator?) throws -> any Layer {
    try TransformationNetwork(self, generator: generator, dropoutGenerator: dropoutGenerator)
  }
}
