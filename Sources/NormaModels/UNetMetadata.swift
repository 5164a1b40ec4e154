import NormaNormalization

extension UNet.Options {
  /// The options by the names that weight files carry in their metadata.
  public var metadata: [String: String] {
    [
      "architecture": "unet", "input_channels": "\(inputChannels)", "output_channels": "\(outputChannels)",
      "width": "\(width)", "depth": "\(depth)", "norm": normalization.name, "dropout": "\(dropout)",
      "head": head.rawValue, "as_logged": "\(asLogged)",
    ]
  }

  /// Reads ``metadata``. Names that are missing leave the defaults.
  /// - Throws: ``UNetError`` for another architecture or a value that cannot be; `NormalizationError` for a normalization that
  ///   does not exist.
  public init(metadata: [String: String]) throws {
    self.init()
    func value<Value: LosslessStringConvertible>(
      _ key: String, _ kind: String, _ fallback: Value, where fits: (Value) -> Bool = { _ in true }
    ) throws -> Value {
      guard let text = metadata[key] else { return fallback }
      guard let value = Value(text), fits(value) else {
        throw UNetError(description: "'\(key)' in the weights' metadata should be \(kind), got '\(text)'")
      }
      return value
    }
    guard metadata["architecture", default: "unet"] == "unet" else {
      throw UNetError(description: "the architecture 'unet' was expected, got '\(metadata["architecture"] ?? "")'")
    }
    inputChannels = try value("input_channels", "a whole number in 1…4096", inputChannels) { (1...4096).contains($0) }
    outputChannels = try value("output_channels", "a whole number in 1…64", outputChannels) { (1...64).contains($0) }
    width = try value("width", "a whole number in 1…4096", width) { (1...4096).contains($0) }
    depth = try value("depth", "a whole number in 1…8", depth) { (1...8).contains($0) }
    dropout = try value("dropout", "at least 0 and below 1", dropout) { (0..<1).contains($0) }
    if let name = metadata["norm"] { normalization = try Normalization(parsing: name) }
    let styles = UNet.HeadStyle.allCases.map(\.rawValue)
    head = UNet.HeadStyle(
      rawValue: try value("head", styles.joined(separator: " or "), head.rawValue) { styles.contains($0) })!
    asLogged = try value("as_logged", "true or false", asLogged)
  }
}

extension UNet.Options {
  /// Reads the options from the shapes of a state, for weights without metadata. The normalization is not among what shapes
  /// tell; it stays the default.
  /// - Throws: ``UNetError`` when the keys are not those of a U-Net.
  public init(shapes: [String: [Int]]) throws {
    self.init()
    func shape(_ key: String) throws -> [Int] {
      guard let shape = shapes[key], shape.count == 4 else {
        throw UNetError(
          description: "the weights are not a U-Net's: '\(key)' with a shape of 4 extents was expected, got "
            + (shapes[key].map { "\($0)" } ?? "no tensor of this name"))
      }
      return shape
    }
    let first = try shape("encoder.0.conv1.conv.weight")
    (width, inputChannels) = (first[0], first[1])
    outputChannels = try shape("head.conv2.weight")[0]
    depth = (1...8).first { shapes["encoder.\($0).conv1.conv.weight"] == nil } ?? depth
    head = shapes["head.conv1.weight"] == nil ? .plain : .seed
    // The largest tensor has to be there, so that a file cannot ask for more memory than it is large.
    let deepest = try shape("bottom.conv2.conv.weight")
    guard (1...4096).contains(width), (1...4096).contains(inputChannels), (1...64).contains(outputChannels),
      deepest == [width << depth, width << depth, 3, 3]
    else {
      throw UNetError(
        description:
          "the weights tell a U-Net of \(inputChannels) inputs, width \(width), \(depth) poolings and \(outputChannels) outputs, "
          + "but 'bottom.conv2.conv.weight' has the shape \(deepest)")
    }
  }
}
