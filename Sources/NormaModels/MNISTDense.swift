import NormaNN
import NormaNormalization
import NormaTensor

/// Fully connected layers for small pictures such as MNIST's digits: all values of a picture as one vector, then linear →
/// norm → ReLU → dropout for every hidden layer, and a linear layer to the logits.
///
/// Input [N, C, H, W] → logits [N, classes].
public final class MNISTDense: Module, Layer {
  public let flatten: Flatten
  public let hidden: [DenseBlock]
  public let output: Linear

  public struct Options: Sendable {
    public var inputChannels = 1
    public var height = 28
    public var width = 28
    /// Outputs of the hidden layers.
    public var hidden = [256, 128]
    public var classes = 10
    /// Probability of dropout after every hidden layer.
    public var dropout = 0.2
    public var normalization = Normalization.batch

    public init() {}

    /// Checks the options without making the network.
    /// - Throws: ``NetworkError`` for extents that cannot be; `NormalizationError` for a norm that vectors of the hidden
    ///   layers' sizes leave nothing to average over, such as instance normalization.
    public func validate() throws {
      guard ([inputChannels, height, width] + hidden).allSatisfy({ $0 > 0 }), classes > 1 else {
        throw NetworkError(
          "the dense network expects channels, height, width and hidden layers of at least 1 and at least two classes, got "
            + "\(inputChannels), \(height), \(width), \(hidden) and \(classes)")
      }
      for features in hidden { _ = try normalization.vectorLayer(features: features) }
    }
  }

  public let options: Options

  /// - Parameters:
  ///   - generator: draws the weights, on the CPU.
  ///   - dropoutGenerator: draws the dropout, on the device of the training; nil means `generator`.
  /// - Throws: what ``Options/validate()`` throws; `TensorError` for a dropout outside of 0..<1.
  public init(
    _ options: Options = Options(), generator: Generator? = nil, dropoutGenerator: Generator? = nil
  ) throws {
    try options.validate()
    self.options = options
    flatten = Flatten()
    let sizes = [options.inputChannels * options.height * options.width] + options.hidden
    hidden = try zip(sizes, options.hidden).map { inputs, outputs in
      DenseBlock(
        try Linear(inputs: inputs, outputs: outputs, generator: generator),
        norm: try options.normalization.vectorLayer(features: outputs),
        dropout: try Dropout(probability: options.dropout, generator: dropoutGenerator ?? generator))
    }
    output = try Linear(
      inputs: sizes.last!, outputs: options.classes, initializer: .glorotUniform, generator: generator)
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    let expected = [options.inputChannels, options.height, options.width]
    guard input.rank == 4, Array(input.shape.dropFirst()) == expected else {
      throw NetworkError(
        "the dense network expected [N, \(expected.map(String.init).joined(separator: ", "))], got \(input.shape)")
    }
    return try output(hidden.reduce(flatten(input)) { try $1($0) })
  }
}

/// Linear → norm → activation → dropout over [N, features].
public final class DenseBlock: Module, Layer, LayerContainer {
  public let linear: Linear
  /// nil for none; ``replaceLayers(_:)`` may exchange it.
  public private(set) var norm: (any Layer)?
  public let activation: Activation
  public let dropout: Dropout

  init(_ linear: Linear, norm: (any Layer)?, activation: Activation = .relu, dropout: Dropout) {
    self.linear = linear
    self.norm = norm
    self.activation = activation
    self.dropout = dropout
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    let sums = try linear(input)
    return try dropout(norm.map { try $0(sums, then: activation) } ?? activation.consuming(sums))
  }

  public func replaceLayers(_ body: (any Layer) throws -> any Layer) rethrows { norm = try norm.map(body) }
}

extension MNISTDense.Options {
  /// The options by the names that weight files carry in their metadata.
  public var metadata: [String: String] {
    [
      "architecture": "mnist-dense", "input_channels": "\(inputChannels)", "height": "\(height)", "width": "\(width)",
      "hidden": hidden.map(String.init).joined(separator: ","), "classes": "\(classes)", "dropout": "\(dropout)",
      "norm": normalization.name,
    ]
  }

  /// Reads ``metadata``. Names that are missing leave the defaults.
  /// - Throws: ``NetworkError`` for another architecture or a value that cannot be; `NormalizationError` for a normalization that
  ///   does not exist.
  public init(metadata: [String: String]) throws {
    self.init()
    let values = try NetworkMetadata(metadata, of: "mnist-dense")
    inputChannels = try values.count("input_channels", in: 1...4096, inputChannels)
    height = try values.count("height", in: 1...4096, height)
    width = try values.count("width", in: 1...4096, width)
    hidden = try values.counts("hidden", in: 1...65536, hidden)
    classes = try values.count("classes", in: 2...65536, classes)
    dropout = try values.value("dropout", "at least 0 and below 1", dropout) { (0..<1).contains($0) }
    if let name = values["norm"] { normalization = try Normalization(parsing: name) }
  }
}
