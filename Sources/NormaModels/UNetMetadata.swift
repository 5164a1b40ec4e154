import NormaNormalization

extension UNet.Options {
  /// The options by the names that weight files carry in their metadata.
  public var metadata: [String: String] {
    [
      "architecture": "unet", "input_channels": "\(inputChannels)", "output_channels": "\(outputChannels)",
      "width": "\(width)", "depth": "\(depth)", "upsampling": upsampling.rawValue, "padding": padding.rawValue,
      "residual": "\(isResidual)", "dimensions": "\(dimensions)", "norm": normalization.name, "dropout": "\(dropout)",
      "head": head.rawValue, "as_logged": "\(asLogged)",
    ]
  }

  /// Reads ``metadata``. Names that are missing leave the defaults.
  /// - Throws: ``NetworkError`` for another architecture or a value that cannot be; `NormalizationError` for a normalization that
  ///   does not exist.
  public init(metadata: [String: String]) throws {
    self.init()
    let values = try NetworkMetadata(metadata, of: "unet")
    inputChannels = try values.count("input_channels", in: 1...4096, inputChannels)
    outputChannels = try values.count("output_channels", in: 1...64, outputChannels)
    width = try values.count("width", in: 1...4096, width)
    depth = try values.count("depth", in: 1...8, depth)
    upsampling = try values.choice("upsampling", upsampling)
    padding = try values.choice("padding", padding)
    isResidual = try values.value("residual", "true or false", isResidual)
    dimensions = try values.count("dimensions", in: 2...3, dimensions)
    dropout = try values.value("dropout", "at least 0 and below 1", dropout) { (0..<1).contains($0) }
    if let name = values["norm"] { normalization = try Normalization(parsing: name) }
    head = try values.choice("head", head)
    asLogged = try values.value("as_logged", "true or false", asLogged)
  }
}

extension UNet.Options {
  /// Reads the options from the shapes of a state, for weights without metadata. Normalization and padding are not among what
  /// shapes tell; they stay the defaults.
  /// - Throws: ``NetworkError`` when the keys are not those of a U-Net.
  public init(shapes: [String: [Int]]) throws {
    self.init()
    func shape(_ key: String, _ extents: ClosedRange<Int>) throws -> [Int] {
      guard let shape = shapes[key], extents.contains(shape.count) else {
        let count = extents.count == 1 ? "\(extents.lowerBound)" : "\(extents.lowerBound) or \(extents.upperBound)"
        throw NetworkError(
          "the weights are not a U-Net's: '\(key)' with a shape of \(count) extents was expected, got "
            + (shapes[key].map { "\($0)" } ?? "no tensor of this name"))
      }
      return shape
    }
    let first = try shape("encoder.0.conv1.conv.weight", 4...5)
    let rank = first.count...first.count
    (width, inputChannels, dimensions) = (first[0], first[1], first.count - 2)
    outputChannels = try shape("head.conv2.weight", rank)[0]
    depth = (1...8).first { shapes["encoder.\($0).conv1.conv.weight"] == nil } ?? depth
    head = shapes["head.conv1.weight"] == nil ? .plain : .seed
    // The bottom doubles the channels, so its shortcut is a convolution.
    isResidual = shapes["bottom.shortcut.conv.weight"] != nil
    // The largest tensor has to be there, so that a file cannot ask for more memory than it is large.
    let deepest = try shape("bottom.conv2.conv.weight", rank)
    guard (1...4096).contains(width), (1...4096).contains(inputChannels), (1...64).contains(outputChannels),
      deepest == [width << depth, width << depth] + Array(repeating: 3, count: dimensions)
    else {
      throw NetworkError(
        "the weights tell a U-Net of \(inputChannels) inputs, width \(width), \(depth) poolings and \(outputChannels) outputs, "
          + "but 'bottom.conv2.conv.weight' has the shape \(deepest)")
    }
    // [out, in, …] of a convolution, [in, out, …] of a transposed one; it has twice as many inputs as outputs.
    upsampling = try shape("decoder.0.up.conv.weight", rank)[0] == width << depth ? .transposed : .nearest
  }
}
