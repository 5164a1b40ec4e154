import ArgumentParser
import NormaData
import NormaFormats

/// Which images and labels to use.
struct DataOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "For unet an image stack: a TIFF file, a PNG file or a folder of PNG files. For classification a folder with one "
        + "sub-folder of PNG files per class, the folder of MNIST's four files or of CIFAR's binary ones, or with --labels an IDX "
        + "file.", valueName: "path"),
    completion: .file())
  var images: String?

  @Option(
    help: ArgumentHelp(
      "Label stack of the same size, one value per class (such as 0 and 255); for classification an IDX file.",
      valueName: "path"),
    completion: .file())
  var labels: String?

  @Option(help: ArgumentHelp("Label value of pixels that do not count.", valueName: "value"))
  var ignoreLabel: Int?

  @Option(
    help: ArgumentHelp(
      "Slices for validation, which chooses the epoch: the last of the stack, or those before the test slices. (default: 4)",
      valueName: "count"))
  var valSlices: Int?

  @Option(
    help: ArgumentHelp(
      "How many of the last slices are for scores alone. (default: with several --seeds as many as --val-slices if the stack "
        + "has them, else none: scores are then of the validation slices)", valueName: "count"))
  var testSlices: Int?

  @Option(
    help: ArgumentHelp(
      "Height and width of the synthetic stack; the crop (at most 1024) unless given.", valueName: "pixels"))
  var syntheticSize: Int?

  @Option(help: ArgumentHelp("Slices of the synthetic stack. (default: 24)", valueName: "count"))
  var syntheticSlices: Int?

  @Option(help: ArgumentHelp("Decides the synthetic stack or images. (default: 0)", valueName: "seed"))
  var syntheticSeed: UInt64?

  @Option(
    help: ArgumentHelp(
      "How many synthetic images there are in all. (default: \(ModelName.defaultsTold(of: ModelName.images) { "\($0.defaults.syntheticImages)" }))",
      valueName: "count"))
  var syntheticImages: Int?

  @Option(
    help: ArgumentHelp(
      "Side to which pictures of a folder are resized and cut, and of synthetic ones. Above 64 AlexNet is that for large images. "
        + "(default: \(defaultImageSize))", valueName: "pixels"))
  var imageSize: Int?

  @Option(
    help: ArgumentHelp(
      "Share of the images for validation, which chooses the epoch. (default: 0.15)", valueName: "share"))
  var valShare: Double?

  @Option(
    help: ArgumentHelp(
      "Share of the images for scores alone, where they do not come with test images. (default: with several --seeds that of "
        + "--val-share, else none: scores are then of the validation images)", valueName: "share"))
  var testShare: Double?

  @Option(
    help: ArgumentHelp("Horizontal optical flow, a TIFF stack with a page of 42×42 per frame.", valueName: "path"),
    completion: .file())
  var flowU: String?

  @Option(help: ArgumentHelp("Vertical optical flow, likewise.", valueName: "path"), completion: .file())
  var flowV: String?

  @Option(help: ArgumentHelp("Optical strain, likewise.", valueName: "path"), completion: .file())
  var strain: String?

  @Option(
    help: ArgumentHelp(
      "CSV file with a score per frame: a column score, and a column frame unless rows are in the order of the pages.",
      valueName: "path"), completion: .file())
  var scores: String?

  @Option(
    help: ArgumentHelp(
      "Folder of PNG files for style to learn on, instead of the built-in pictures.", valueName: "folder"),
    completion: .directory)
  var content: String?

  @Option(
    help: ArgumentHelp(
      "Pictures whose style to paint in, separated by commas: PNG files, folders of them, or built-in ones "
        + "(\(SyntheticTextures.styleNames.joined(separator: ", "))). (default: mosaic)", valueName: "list"),
    completion: .file(), transform: commaSeparated)
  var styles: [String]?

  func validate() throws {
    if labels != nil, images == nil { throw Self.withoutPartner }
    let flow = [flowU, flowV, strain, scores].compactMap { $0 }
    guard flow.isEmpty || flow.count == 4 else {
      throw ValidationError(
        "--flow-u, --flow-v, --strain and --scores belong together: give all, or none for the built-in synthetic flow.")
    }
    if images != nil || content != nil || !flow.isEmpty,
      syntheticSize != nil || syntheticSlices != nil || syntheticSeed != nil || syntheticImages != nil
    {
      throw ValidationError("the --synthetic options are for built-in data; leave them out with files.")
    }
    if let valShare, !(valShare > 0 && valShare < 1) {
      throw ValidationError("--val-share must be above 0 and below 1, got \(valShare).")
    }
    if let testShare, !(0..<1).contains(testShare) {
      throw ValidationError("--test-share must be at least 0 and below 1, got \(testShare).")
    }
    if let imageSize, !(8...1024).contains(imageSize) {
      throw ValidationError("--image-size must be in 8…1024, got \(imageSize).")
    }
    if let syntheticImages, !(20...1_000_000).contains(syntheticImages) {
      throw ValidationError("--synthetic-images must be in 20…1000000, got \(syntheticImages).")
    }
    if let testSlices, testSlices < 0 {
      throw ValidationError("--test-slices must be at least 0, got \(testSlices).")
    }
    guard (2...10_000).contains(slicesOfSynthetic) else {
      throw ValidationError("--synthetic-slices must be in 2…10000, got \(slicesOfSynthetic).")
    }
    if let size = syntheticSize, !(16...8192).contains(size) {
      throw ValidationError("--synthetic-size must be in 16…8192, got \(size).")
    }
    if let size = syntheticSize, size * size * slicesOfSynthetic > 1_000_000_000 {
      throw ValidationError(
        "a synthetic stack may have 10⁹ pixels, got \(slicesOfSynthetic) slices of \(size)×\(size); choose fewer or smaller ones."
      )
    }
  }

  /// Options that not all networks have, as far as they are given.
  var given: [String] {
    [
      ("images", images != nil), ("labels", labels != nil), ("ignore-label", ignoreLabel != nil),
      ("val-slices", valSlices != nil), ("test-slices", testSlices != nil), ("synthetic-size", syntheticSize != nil),
      ("synthetic-slices", syntheticSlices != nil), ("synthetic-images", syntheticImages != nil),
      ("image-size", imageSize != nil), ("val-share", valShare != nil), ("test-share", testShare != nil),
      ("flow-u", flowU != nil), ("flow-v", flowV != nil), ("strain", strain != nil), ("scores", scores != nil),
      ("content", content != nil), ("styles", styles != nil),
    ].filter(\.1).map(\.0)
  }

  private static let withoutPartner = ValidationError(
    "--images and --labels belong together: give both, or neither for the built-in synthetic data.")

  /// Slices for validation.
  var heldSlices: Int { valSlices ?? 4 }

  var slicesOfSynthetic: Int { syntheticSlices ?? 24 }
  var seedOfSynthetic: UInt64 { syntheticSeed ?? 0 }

  /// The extent of the synthetic stack: the crop's where none is given, within reason.
  func sizeOfSynthetic(crop: Int) -> Int { syntheticSize ?? min(max(crop, 16), 1024) }

  struct Loaded {
    let name: String
    let isSynthetic: Bool
    let training: SegmentationDataset
    let validation: SegmentationDataset
    let test: SegmentationDataset?
  }

  /// - Parameters:
  ///   - crop: the size of the synthetic stack where none is given.
  ///   - isRepeated: whether there are several seeds.
  ///   - earlierTestSlices: those of the run that goes on.
  func load(crop: Int, isRepeated: Bool, earlierTestSlices: Int? = nil) throws -> Loaded {
    let name: String
    let stacks: (images: ImageStack, labels: ImageStack)
    if let images {
      guard let labels else { throw Self.withoutPartner }
      name = images
      stacks = (try ImageFile.read(images), try ImageFile.read(labels))
    } else {
      let (size, slices, seed) = (sizeOfSynthetic(crop: crop), slicesOfSynthetic, seedOfSynthetic)
      name = "synthetic EM-like stack (\(slices) slices of \(size)×\(size), seed \(seed))"
      stacks = SyntheticEM(width: size, height: size, slices: slices, seed: seed).make()
    }
    let dataset = try SegmentationDataset(
      images: stacks.images, labels: stacks.labels, ignore: ignoreLabel, name: name)
    let forTest =
      testSlices ?? earlierTestSlices ?? (isRepeated ? max(0, min(heldSlices, dataset.pages - heldSlices - 1)) : 0)
    let held = heldSlices + forTest
    let (training, rest) = try dataset.split(validationSlices: held)
    guard forTest > 0 else {
      return Loaded(name: name, isSynthetic: images == nil, training: training, validation: rest, test: nil)
    }
    let (validation, test) = try rest.split(validationSlices: forTest)
    return Loaded(name: name, isSynthetic: images == nil, training: training, validation: validation, test: test)
  }
}
