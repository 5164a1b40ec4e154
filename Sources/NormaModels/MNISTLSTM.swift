import NormaNN
import NormaNormalization
import NormaTensor

/// An LSTM that reads a picture row by row: the rows of a small picture are the steps of a sequence, and a linear layer turns
/// the output of the last step into the logits.
///
/// Input [N, 1, H, W] with any number of rows H → logits [N, classes]. Norms are inside the cells.
public final class MNISTLSTM: Module, Layer {
  public let lstm: LSTM
  public let dropout: Dropout
  public let output: Linear

  public struct Options: Sendable {
    /// W, the features of a step.
    public var width = 28
    /// The rows of the images that it is meant for; any number will do.
    public var height = 28
    /// Units of every layer of the LSTM.
    public var hidden = 128
    public var layers = 1
    public var classes = 10
    /// Probability of dropout before the last layer.
    public var dropout = 0.0
    /// Inside the cells: one that measures every sample alone.
    public var normalization = Normalization.none

    public init() {}

    fileprivate static let ranges = (extent: 1...4096, hidden: 1...16384, layers: 1...64, classes: 2...65536)

    /// Checks the options without making the network.
    /// - Throws: ``NetworkError`` for numbers that cannot be; `NormalizationError` for a norm that cannot stand inside a cell, such
    ///   as batch normalization.
    public func validate() throws {
      let ranges = Self.ranges
      guard ranges.extent.contains(width), ranges.extent.contains(height), ranges.hidden.contains(hidden),
        ranges.layers.contains(layers), ranges.classes.contains(classes)
      else {
        throw NetworkError(
          "the LSTM network expects a width and height in 1…4096, hidden units in 1…16384, layers in 1…64 and classes in 2…65536, "
            + "got \(width) and \(height), \(hidden), \(layers) and \(classes)")
      }
      for features in [4 * hidden, hidden] { _ = try normalization.cellLayer(features: features) }
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
    lstm = try LSTM(
      inputs: options.width, hidden: options.hidden, layers: options.layers, generator: generator,
      norm: options.normalization.cellLayer)
    dropout = try Dropout(probability: options.dropout, generator: dropoutGenerator ?? generator)
    output = try Linear(
      inputs: options.hidden, outputs: options.classes, initializer: .glorotUniform, generator: generator)
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    let shape = input.shape
    guard shape.count == 4, shape[1] == 1, shape[2] > 0, shape[3] == options.width else {
      throw NetworkError("the LSTM network expected [N, 1, H, \(options.width)], got \(shape)")
    }
    let steps = try lstm(input.squeezed(1))
    return try output(dropout(steps.selected(shape[2] - 1, dimension: 1)))
  }
}

extension MNISTLSTM.Options {
  /// The options by the names that weight files carry in their metadata.
  public var metadata: [String: String] {
    [
      "architecture": "mnist-lstm", "width": "\(width)", "height": "\(height)", "hidden": "\(hidden)",
      "layers": "\(layers)",
      "classes": "\(classes)", "dropout": "\(dropout)", "norm": normalization.name,
    ]
  }

  /// Reads ``metadata``. Names that are missing leave the defaults.
  /// - Throws: ``NetworkError`` for another architecture or a value that cannot be; `NormalizationError` for a normalization that
  ///   does not exist.
  public init(metadata: [String: String]) throws {
    self.init()
    let values = try NetworkMetadata(metadata, of: "mnist-lstm")
    width = try values.count("width", in: Self.ranges.extent, width)
    height = try values.count("height", in: Self.ranges.extent, height)
    hidden = try values.count("hidden", in: Self.ranges.hidden, hidden)
    layers = try values.count("layers", in: Self.ranges.layers, layers)
    classes = try values.count("classes", in: Self.ranges.classes, classes)
    dropout = try values.value("dropout", "at least 0 and below 1", dropout) { (0..<1).contains($0) }
    if let name = values["norm"] { normalization = try Normalization(parsing: name) }
  }
}
