import NormaData
import NormaFormats
import NormaModels
import NormaNN
import NormaTensor

extension PredictCommand {
  /// Applies a network for whole images to PNG files: a classifier writes a table, style transfer pictures.
  func runOnImages(_ loaded: ModelOptions.Loaded) throws {
    let given = [
      ("mask", mask), ("threshold", threshold != nil), ("probabilities", probabilities != nil),
      ("statistics", statistics != nil), ("tta", usesSymmetries), ("blend", blend != nil), ("tile", tile != nil),
      ("overlap", overlap != nil), ("style", style != nil && !(loaded.options is TransformationNetwork.Options)),
    ].filter(\.1).map(\.0)
    let architecture = type(of: loaded.options).architecture
    if let name = given.first {
      throw ToolError(
        "--\(name) is for \(name == "style" ? "style transfer" : "segmentation"), the network in '\(loaded.path)' is "
          + "\(architecture); leave it out")
    }
    guard loaded.options is any ClassifierConfiguration || loaded.options is TransformationNetwork.Options else {
      throw ToolError(
        "norma predict takes segmentation, classification and style transfer, that of '\(loaded.path)' is \(architecture); use it "
          + "by norma export --onnx")
    }
    guard Folder.isFolder(input) || input.lowercased().hasSuffix(".png") else {
      throw ToolError("\(architecture) takes a PNG file or a folder of them, got '\(input)'")
    }
    let files = Folder.isFolder(input) ? try ImageDataset.pngFiles(input) : [input]
    let place = try TrainingCommandOptions.device(named: device)
    try loaded.network.to(device: place)
    try withoutGradients {
      if let options = loaded.options as? any ClassifierConfiguration {
        try classify(files, loaded, options, place)
      } else if let network = loaded.network as? TransformationNetwork {
        try transform(files, loaded.path, network, place)
      }
    }
  }

  /// A row per file: the likeliest class, then the probability of every class.
  private func classify(
    _ files: [String], _ loaded: ModelOptions.Loaded, _ options: any ClassifierConfiguration, _ device: Device
  ) throws {
    let extents = options.inputExtents.compactMap { if case .fixed(let extent) = $0 { extent } else { nil } }
    guard extents.count == 3, extents[1] == extents[2] else {
      throw ToolError(
        "the network in '\(loaded.path)' takes images of \(extents.dropFirst().map(String.init).joined(separator: "×")), and norma "
          + "predict cuts squares; use it by norma export --onnx")
    }
    let (channels, side) = (extents[0], extents[2])
    guard let standardization = Standardization(metadata: loaded.metadata), standardization.means.count == channels
    else {
      throw ToolError(
        "the metadata of '\(loaded.path)' do not tell how its images were scaled; train it by norma, or use it by norma export --onnx"
      )
    }
    let told = loaded.metadata["class_names"].flatMap { try? CSV.fields(of: $0, in: loaded.path) }
    let names = told.flatMap { $0.count == options.classes ? $0 : nil } ?? (0..<options.classes).map(String.init)
    let images = try ImageDataset.pictures(files, side: side, name: input)
    guard images.channels == channels else {
      throw ToolError(
        "the network takes \(channels == 1 ? "grey" : "colour") pictures, those of '\(input)' are "
          + "\(images.channels == 1 ? "grey" : "in colour")")
    }
    var rows = ["file,predicted," + names.map(CSV.field).joined(separator: ",")]
    let loader = try images.evaluationBatches(batchSize: 32, standardization: standardization)
    while let batch = try loader.next() {
      let input = try Tensor(batch.inputs, shape: [batch.count, channels, side, side]).to(device: device)
      let output = try loaded.network(input.contiguous(.channelsLast)).to(dtype: .float32).softmax(1)
      let probabilities: [Float] = try output.array()
      for (place, index) in batch.indices.enumerated() {
        let row = probabilities[place * names.count..<(place + 1) * names.count]
        let likeliest = row.indices.max { row[$0] < row[$1] }.map { $0 - row.startIndex } ?? 0
        rows.append(
          "\(CSV.field(files[index])),\(CSV.field(names[likeliest]))," + row.map { "\($0)" }.joined(separator: ","))
      }
    }
    try AtomicFile.write(rows.joined(separator: "\n") + "\n", to: output)
    print("Wrote \(output): the classes of \(files.count) \(files.count == 1 ? "picture" : "pictures").")
  }

  /// Every picture in the network's style, as large as it is.
  private func transform(
    _ files: [String], _ path: String, _ network: TransformationNetwork, _ device: Device
  ) throws {
    let options = network.options
    let number = style ?? 1
    guard (1...options.styles).contains(number) else {
      throw ToolError("--style must be in 1…\(options.styles), the styles of '\(path)', got \(number)")
    }
    let isFolder = Folder.isFolder(input)
    if isFolder { try Folder.make(output) }
    for file in files {
      let picture = try PNG.read(file)
      let channels = picture.channels < 3 ? 1 : 3
      guard channels == options.channels else {
        throw ToolError(
          "the network takes \(options.channels == 1 ? "grey" : "colour") pictures, '\(file)' is "
            + "\(channels == 1 ? "grey" : "in colour")")
      }
      let (height, width) = (picture.height, picture.width)
      guard min(height, width) >= 5 else {
        throw ToolError("style transfer takes pictures of at least 5×5 pixels, '\(file)' has \(width)×\(height)")
      }
      let scale: Float = picture.format == .uint16 ? 65_535 : 255
      let values = picture.values.prefix(channels * height * width).map { $0 / scale }
      let image = try Tensor(values, shape: [1, channels, height, width]).to(device: device).contiguous(.channelsLast)
      let painted = try options.styles > 1 ? network(image, styles: [number - 1]) : network(image)
      let bytes: [Float] = try (painted.to(dtype: .float32) * 255).array()
      let stack = try ImageStack(
        pages: 1, channels: channels, height: height, width: width, format: .uint8,
        values: bytes.map { max(0, min(255, $0.rounded())) })
      let name = file.split(separator: "/").last.map(String.init) ?? file
      try PNG.write(stack, to: isFolder ? "\(output)/\(name)" : output)
    }
    print("Wrote \(output): \(files.count) \(files.count == 1 ? "picture" : "pictures").")
  }
}
