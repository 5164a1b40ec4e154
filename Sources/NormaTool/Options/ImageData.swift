import ArgumentParser
import NormaData
import NormaFormats
import NormaRecords

extension DataOptions {
  /// Side of pictures of any size, and of made-up ones.
  static let defaultImageSize = 32
  private static let validationShare = 0.15

  /// Images with classes: the user's, or those that `synthetic` makes.
  /// - Parameters:
  ///   - side: to which pictures of any size are resized.
  ///   - count: of synthetic images where the command line gives none.
  ///   - synthetic: makes so many images by a seed.
  func loadClasses(
    side: Int, count: Int, isRepeated: Bool, earlier: ComparisonRecord?,
    synthetic: (_ count: Int, _ seed: UInt64) throws -> ImageDataset
  ) throws -> LoadedImages {
    guard let images else {
      let count = syntheticImages ?? count
      try checkSize(count, side: side)
      return try parted(
        synthetic(count, seedOfSynthetic), nil, isSynthetic: true, unit: "images", isRepeated, earlier,
        syntheticConfiguration(count))
    }
    var configuration = ["images": images]
    if let labels {
      configuration["labels"] = labels
      let found = try ImageDataset.mnist(images: images, labels: labels, name: images)
      try checkSide(found)
      return try parted(
        found, nil, isSynthetic: false, unit: "images", isRepeated,
        earlier, configuration)
    }
    guard Folder.isFolder(images) else {
      throw ValidationError(
        "--images of classification is a folder, or with --labels an IDX file; got '\(images)' without --labels.")
    }
    let found = try ImageDataset.known(in: images, side: side)
    try checkSide(found.images)
    return try parted(
      found.images, found.test, isSynthetic: false, unit: "images", isRepeated, earlier, configuration)
  }

  /// Pictures for style transfer.
  func loadContents(side: Int, count: Int, isRepeated: Bool, earlier: ComparisonRecord?) throws -> LoadedImages {
    guard let content else {
      let count = syntheticImages ?? count
      try checkSize(count, side: side)
      let made = SyntheticTextures(side: side, seed: seedOfSynthetic).contents(count)
      return try parted(
        made, nil, isSynthetic: true, unit: "images", isRepeated, earlier, syntheticConfiguration(count))
    }
    return try parted(
      .pictures(content, side: side, inColour: true), nil, isSynthetic: false, unit: "images", isRepeated, earlier,
      ["content": content])
  }

  /// A picture per style, in the order in which they are named.
  func loadStyles(side: Int) throws -> ImageDataset {
    let words = styles ?? ["mosaic"]
    let painted = SyntheticTextures(side: side, seed: seedOfSynthetic).styles()
    let parts = try words.map { word in
      if let number = SyntheticTextures.styleNames.firstIndex(of: word) { return painted.part([number], name: word) }
      return try ImageDataset.pictures([word], side: side, inColour: true, name: word)
    }
    return try ImageDataset.joined(parts, name: words.joined(separator: ", "))
  }

  /// Optical flow with scores.
  func loadFlow(count: Int, isRepeated: Bool, earlier: ComparisonRecord?) throws -> LoadedImages {
    guard let flowU, let flowV, let strain, let scores else {
      let count = syntheticImages ?? count
      return try parted(
        SyntheticFlow(count: count, seed: seedOfSynthetic).make(), nil, isSynthetic: true, unit: "frames", isRepeated,
        earlier, syntheticConfiguration(count))
    }
    return try parted(
      .spotting(u: flowU, v: flowV, strain: strain, scores: scores), nil, isSynthetic: false, unit: "frames",
      isRepeated, earlier, ["flow-u": flowU, "flow-v": flowV, "strain": strain, "scores": scores])
  }

  private func syntheticConfiguration(_ count: Int) -> [String: String] {
    ["synthetic-images": "\(count)", "synthetic-seed": "\(seedOfSynthetic)"]
  }

  /// Images that are kept in one size are not resized.
  private func checkSide(_ images: ImageDataset) throws {
    if let imageSize, images.height != imageSize || images.width != imageSize {
      throw ValidationError(
        "--image-size \(imageSize) is for pictures of any size; those of '\(images.name)' are kept in \(images.width)×\(images.height): "
          + "leave it out.")
    }
  }

  private func checkSize(_ count: Int, side: Int) throws {
    guard count * 3 * side * side <= 4_000_000_000 else {
      throw ValidationError(
        "built-in images may have 4·10⁹ values, got \(count) of 3×\(side)×\(side); choose fewer or smaller ones.")
    }
  }

  private func parted(
    _ images: ImageDataset, _ test: ImageDataset?, isSynthetic: Bool, unit: String, _ isRepeated: Bool,
    _ earlier: ComparisonRecord?, _ configuration: [String: String]
  ) throws -> LoadedImages {
    if test != nil, testShare != nil {
      throw ValidationError("'\(images.name)' comes with test images: leave out --test-share.")
    }
    let validationShare = valShare ?? Self.validationShare
    let before = earlier.flatMap { $0.configuration["test-share"] }.flatMap(Double.init)
    let forTest = test != nil ? 0 : testShare ?? before ?? (isRepeated ? validationShare : 0)
    let parts = try images.split(validation: validationShare, test: forTest)
    var configuration = configuration
    configuration["val-share"] = "\(validationShare)"
    if test == nil { configuration["test-share"] = "\(forTest)" }
    return LoadedImages(
      name: images.name, isSynthetic: isSynthetic, unit: unit, training: parts.training,
      validation: parts.validation, test: test ?? parts.test, configuration: configuration)
  }
}
